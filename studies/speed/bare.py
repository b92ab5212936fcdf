"""The limit: a program in JAX by hand that trains the digits' trials, without Keras, sampler and SQL.

`jit(scan(vmap(step)))` over lanes; their state is donated, every epoch is judged, and a wave of lanes ends before the
next begins. What a study costs above this is what adamtune adds.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from ledger import Marks
from workloads import RANGES, about, prepared

LANES = 32
_LAYERS = ((64, 64), (64, 64), (64, 10))


def loss(weights, x, y):
    """Mean cross-entropy of the network over these rows."""
    *hidden, (kernel, bias) = weights
    for inner, offset in hidden:
        x = jax.nn.relu(x @ inner + offset)
    logits = x @ kernel + bias
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean()


def step(state, hypers, x, y):
    """One step of Adam, in Keras' form, AMSGrad as a mask."""
    weights, ms, vs, highest, t = state
    rate, one_minus_beta_1, one_minus_beta_2, epsilon, amsgrad = hypers
    t = t + 1
    gradients = jax.grad(loss)(weights, x, y)
    ms = jax.tree.map(lambda m, g: m + one_minus_beta_1 * (g - m), ms, gradients)
    vs = jax.tree.map(lambda v, g: v + one_minus_beta_2 * (g * g - v), vs, gradients)
    highest = jax.tree.map(jnp.maximum, highest, vs)
    rate *= jnp.sqrt(-jnp.expm1(t * jnp.log1p(-one_minus_beta_2))) / -jnp.expm1(t * jnp.log1p(-one_minus_beta_1))

    def moved(w, m, v, h):
        return w - rate * m / (jnp.sqrt(jnp.where(amsgrad > 0, h, v)) + epsilon)

    return jax.tree.map(moved, weights, ms, vs, highest), ms, vs, highest, t


def run(workload, seed, trials, folder, quick=False, lanes=LANES):
    """Train the trials in waves of lanes; the hypers are drawn before the clock starts, at random."""
    del folder
    case, rows, epochs = prepared(workload, seed, quick)
    size, n, lanes = case.batch_size, len(rows.x), min(lanes, trials)
    random = np.random.default_rng(seed)
    waves = -(-trials // lanes)
    drawn = [np.exp(random.uniform(*np.log(bounds), (waves, lanes))) for bounds in RANGES.values()]
    drawn = np.stack([*drawn, random.integers(0, 2, (waves, lanes))]).astype("float32")
    initial = [
        (random.uniform(-1, 1, shape) * np.sqrt(6 / sum(shape)), np.zeros(shape[1])) for shape in _LAYERS
    ]  # Glorot's, as in Keras
    in_lanes = jax.vmap(step, (0, 0, None, None))

    def epoch(state, hypers, key, x, y, x_valid, y_valid):
        order = jax.random.permutation(key, n)
        full, rest = order[: n // size * size].reshape(-1, size), order[n // size * size :]
        state, _ = jax.lax.scan(lambda s, chosen: (in_lanes(s, hypers, x[chosen], y[chosen]), None), state, full)
        if len(rest):
            state = in_lanes(state, hypers, x[rest], y[rest])
        return state, jax.vmap(loss, (0, None, None))(state[0], x_valid, y_valid)

    def fresh():
        def in_each(value):
            return np.tile(value, (lanes,) + (1,) * np.ndim(value)).astype("float32")

        weights = jax.tree.map(in_each, initial)
        memory = [jax.tree.map(np.zeros_like, weights) for _ in range(3)]
        return jax.device_put((weights, *memory, np.zeros(lanes, "float32")))

    marks = Marks()
    data = jax.device_put((rows.x, rows.y.astype("int32"), rows.x_valid, rows.y_valid.astype("int32")))
    keys = jax.random.split(jax.random.key(seed), epochs)
    began = time.perf_counter()
    program = jax.jit(epoch, donate_argnums=0).lower(fresh(), tuple(drawn[:, 0]), keys[0], *data).compile()
    compiling = time.perf_counter() - began
    values, ticks = [], []
    for wave in range(waves):
        state, hypers = fresh(), tuple(jax.device_put(drawn[:, wave]))
        for key in keys:
            began = time.perf_counter()
            state, judged = program(state, hypers, key, *data)
            judged = np.asarray(judged)  # waits for it, as judging does
            ticks.append(time.perf_counter() - began)
        values += judged.tolist()
        for _ in range(lanes):
            marks()
    return {
        **about(workload, rows, epochs),
        "seconds": marks.seconds[-1],
        "compiling": compiling,
        "lanes": lanes,
        "seconds_a_tick": float(np.median(ticks)),
        "epochs_trained": waves * lanes * epochs,
        "ended": marks.seconds[:trials],
        "values": values[:trials],
        "mebibytes": [marks.seconds, marks.mebibytes],
    }
