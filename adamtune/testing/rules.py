"""Every promise of a `Rule`, a test each."""
# ruff: noqa: D102 (the name of a test says what it promises)

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adamtune.config import OptimizerConfig
from adamtune.hypers import Hyper, Value
from adamtune.optimizers._rule import Rule
from adamtune.testing import fits
from adamtune.testing.paths import (
    Values,
    carried,
    compiled_apply,
    compiled_step,
    empty,
    first,
    floatx,
    path,
    place,
    step,
)

# A number, a bias, a kernel and the kernel of a convolution.
SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 3), (2, 3, 3, 4))


def defaults(rule: Rule) -> dict[str, Value]:
    """All hypers at their defaults."""
    return {hyper.name: hyper.default for hyper in rule.hypers}


def middle(rule: Rule) -> dict[str, Value]:
    """All hypers in the middle of their search ranges, flags at their defaults."""
    return {hyper.name: hyper.default if hyper.scale == "flag" else _along(hyper, 0.5) for hyper in rule.hypers}


def _other(hyper: Hyper) -> Value:
    """A value that `middle` has not: the other one, or a quarter of the way along the search range."""
    return not hyper.default if hyper.scale == "flag" else _along(hyper, 0.25)


def _along(hyper: Hyper, share: float) -> Value:
    """The value that far along the search range."""
    if hyper.scale == "count":
        return hyper.uncarry(hyper.low + share * (hyper.high - hyper.low))
    return hyper.uncarry(hyper.low ** (1 - share) * hyper.high**share)


def _fading(seed: int, steps: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random gradients that halve with every step: what looks at past gradients then differs from what does not."""
    noise = np.random.default_rng(seed).normal(size=(steps, *shape))
    return noise * 0.5 ** np.arange(steps).reshape((-1,) + (1,) * len(shape))


class RuleTestCase:
    """Every promise of a Rule; subclasses have a fixture `rule`, and others where a promise needs other numbers."""

    @pytest.fixture
    def rule(self) -> Rule:
        """The rule under test."""
        raise NotImplementedError("a subclass of RuleTestCase needs a fixture `rule` that returns its Rule")

    @pytest.fixture
    def lively(self, rule: Rule) -> dict[str, Value]:
        """Values at which every hyper has something to do; override where the middle of the search is no such place."""
        return middle(rule)

    # ------------------------------------------------------------------------------------ what it says of itself

    def test_names_are_what_others_build_on(self, rule: Rule) -> None:
        assert rule.hypers[0].name == "learning_rate", "the first hyper is the learning rate"
        assert rule.name == rule.name.lower() and rule.class_name.isidentifier() and rule.source
        for kind, names in (
            ("hypers", [name for hyper in rule.hypers for name in {hyper.name, hyper.carried_name}]),
            ("slots", list(rule.slots)),
            ("scalars", [name for name, _ in rule.scalars]),
            ("columns", list(rule.columns)),
        ):
            assert len(set(names)) == len(names), f"{kind} share a name: {names}"
            assert all(name.isidentifier() for name in names), f"{kind} have names that cannot be arguments: {names}"

    def test_default_is_legal_and_would_be_found_by_a_search(self, rule: Rule) -> None:
        for hyper in rule.hypers:
            assert hyper.check(hyper.default) == hyper.default, hyper.name
            is_none = (hyper.zero and hyper.default == 0) or hyper.default == np.inf
            if hyper.scale != "flag" and not is_none:
                # 1 - 0.999 is 0.0010000000000000009: the bounds hold up to rounding.
                low, high = hyper.low * (1 - 1e-9), hyper.high * (1 + 1e-9)
                assert low <= hyper.carry(hyper.default) <= high, f"{hyper.name}: default outside its search range"

    def test_both_ends_of_a_search_are_legal(self, rule: Rule) -> None:
        for hyper in rule.hypers:
            for end in (hyper.low, hyper.high):
                assert hyper.scale == "flag" or end > 0, f"{hyper.name} is searched on a log scale from {end}"
                hyper.check(hyper.uncarry(end))

    # ------------------------------------------------------------------------------------------- the function

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_keeps_shape_and_dtype(self, rule: Rule, dtype: str) -> None:
        from keras import backend, ops

        h = carried(rule, {}, dtype)
        for shape in SHAPES:
            w = ops.ones(shape, dtype)
            slots = empty(rule, w)
            weight, slots, scalars = step(rule, h, 0.5 * w, w, slots, first(rule, dtype), ops.ones((), dtype))
            names = ("weight", *rule.slots, *(name for name, _ in rule.scalars))
            shapes = (shape, *rule.slot_shapes(place(shape)), *(() for _ in rule.scalars))
            for what, wanted, array in zip(names, shapes, (weight, *slots, *scalars), strict=True):
                assert tuple(array.shape) == wanted, f"{what} of shape {wanted} came back as {tuple(array.shape)}"
                found = backend.standardize_dtype(array.dtype)
                assert found == dtype, f"{what} of {dtype} came back as {found}"

    def test_is_pure(self, rule: Rule, lively: Values) -> None:
        from keras import ops

        rng = np.random.default_rng(0)
        shapes = [(2, 3), (2, 3), *rule.slot_shapes(place((2, 3)))]
        arrays = [ops.convert_to_tensor(rng.uniform(0.5, 1.5, size=shape)) for shape in shapes]
        h = carried(rule, lively)
        terms = (arrays[0], arrays[1], tuple(arrays[2:]))
        before, names = [np.array(a) for a in arrays], dict(vars(h))
        t = ops.convert_to_tensor(3.0, dtype="float64")
        results = []
        for _ in range(2):
            ready, scalars = rule.prepare(h, first(rule, "float64"), t, lambda term, h: ops.sum(term(*terms, h)))
            assert _same(vars(h), names), "prepare changed the hypers"
            given = dict(vars(ready))
            weight, slots = rule.update(*terms, ready, t)
            assert _same(vars(ready), given), "update changed the hypers"
            results.append((weight, *slots, *scalars))
        for old, array in zip(before, arrays, strict=True):
            np.testing.assert_array_equal(array, old, err_msg="update changed its input")
        for one, other in zip(*results, strict=True):
            np.testing.assert_array_equal(one, other, err_msg="the same input gave another output")

    def test_zero_gradient_leaves_a_fresh_weight(self, rule: Rule) -> None:
        for shape in SHAPES:
            start = np.full(shape, 0.7)
            after = path(rule, {"weight_decay": 0.0}, lambda w, t: 0 * w, start, steps=2, dtype="float32")[-1]
            np.testing.assert_array_equal(after, start.astype("float32"))

    def test_a_weight_without_gradients_stays_whatever_is_0(self, rule: Rule) -> None:
        zeros = {hyper.name: 0.0 for hyper in rule.hypers if hyper.scale == "log" and hyper.zero}
        flags = [{hyper.name: not hyper.default} for hyper in rule.hypers if hyper.scale == "flag"]
        lanes = [zeros, *({**zeros, **each} for each in flags)]
        gradients = np.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
        for dtype in ("float32", "float64"):
            start = np.full((len(lanes), 2), 0.7)
            given = gradients.astype(dtype)
            weights = path(rule, lanes, lambda w, t, g=given: 0 * w + g[t - 1], start, 3, dtype)  # type: ignore[misc]
            assert np.isfinite(weights).all()
            assert (weights[:, :, 1] == start[0, 1].astype(dtype)).all()

    def test_each_hyper_matters(self, rule: Rule, lively: Values) -> None:
        # Vectors and matrices; elements whose gradient is small beside any floor; a rate that rises; gradients with and
        # without a direction. Somewhere there, each hyper has something to do.
        lanes = [{**each, "warmup": 0.2} for each in ({}, *({hyper.name: _other(hyper)} for hyper in rule.hypers))]
        lanes = [{**lively, **each} for each in lanes]
        changes = np.zeros(len(rule.hypers))
        for shape in ((3,), (2, 3)):
            noise = _fading(0, 20, (1, *shape)) * [1, 1e-3, 1e-6]
            for pull in (0.0, 0.5):
                start = np.ones((len(lanes), *shape))
                weights = path(rule, lanes, lambda w, t, p=pull, n=noise: p * w + n[t - 1], start, steps=20)  # type: ignore[misc]
                others = np.abs(weights[:, 1:] - weights[:, :1]).max(axis=(0, *range(2, weights.ndim)))
                changes = np.maximum(changes, others / np.abs(weights[:, 0] - 1).max())
        for hyper, change, lane in zip(rule.hypers, changes, lanes[1:], strict=True):
            assert change > 1e-7, f"{hyper.name}={lane[hyper.name]} instead of {lanes[0][hyper.name]} changes nothing"

    def test_hypers_are_values(self, rule: Rule, lively: Values) -> None:
        # Lanes with other numbers, schedules and flags go through what was compiled for the first.
        from keras import ops

        traced = []

        def traces(h: SimpleNamespace, scalars: Any, t: Any, total: Any) -> Any:
            traced.append(t)
            return rule.prepare(h, scalars, t, total)

        update = compiled_step(replace(rule, prepare=traces))
        w = ops.ones((1, 2, 3), "float64")
        arrays = (w, w, empty(rule, w, 1), tuple(ops.reshape(value, (1,)) for value in first(rule, "float64")))
        others = [{**lively, hyper.name: _other(hyper)} for hyper in rule.hypers]
        for values in _choices({}, lively, *others, {"schedule": "cosine", "clipnorm": 1.0, "weight_decay": 0.1}):
            h = carried(rule, [values], rank=1, steps=10)
            update(vars(h), *arrays, ops.ones((1,), "float64"))
        assert len(traced) == 1

    def test_slots_that_are_not_used_change_nothing(self, rule: Rule, lively: Values) -> None:
        from keras import ops

        w, g = (ops.convert_to_tensor(np.random.default_rng(seed).normal(size=(2, 3))) for seed in (0, 1))
        flags = [{**lively, hyper.name: not hyper.default} for hyper in rule.hypers if hyper.scale == "flag"]
        for values in ({}, lively, *flags):
            unused = rule.unused({**defaults(rule), **values})
            assert set(unused) <= set(rule.slots) - {rule.averaged}
            clean = empty(rule, w)
            dirty = [slot + 5.0 if name in unused else slot for name, slot in zip(rule.slots, clean, strict=True)]
            h, t = carried(rule, values), ops.ones((), "float64")
            (one, slots, _), (other, others, _) = (
                step(rule, h, g, w, each, first(rule, "float64"), t) for each in (clean, dirty)
            )
            np.testing.assert_array_equal(one, other)
            for name, slot, same in zip(rule.slots, slots, others, strict=True):
                assert name in unused or np.array_equal(slot, same), name

    def test_both_ends_of_a_search_stay_finite(self, rule: Rule) -> None:
        # On log(cosh(w)), whose gradient is bounded: what blows up here blows up by itself.
        from keras import ops

        ends = [
            (hyper.name, hyper.uncarry(end))
            for hyper in rule.hypers
            for end in ((False, True) if hyper.scale == "flag" else (hyper.low, hyper.high))
        ]
        start = np.tile([[-3.0, 1e-3, 5.0]], (len(ends), 1))
        weights = path(rule, [dict([end]) for end in ends], lambda w, t: ops.tanh(w), start, 100, "float32")
        for lane, (name, value) in enumerate(ends):
            assert np.isfinite(weights[:, lane]).all(), f"{name}={value} is searched, but is not finite"

    def test_reaches_the_minimum_of_a_quadratic(self, rule: Rule) -> None:
        rate = rule.hypers[0]
        lanes = [{rate.name: float(value)} for value in np.geomspace(rate.low, rate.high, 9)]
        curvature, minimum = np.array([1.0, 0.3, 0.1]), np.array([1.0, -0.5, 0.3])
        weights = path(rule, lanes, lambda w, t: curvature * (w - minimum), np.zeros((9, 3)), steps=200)
        loss = (curvature * (weights[-1] - minimum) ** 2).sum(axis=1) / (curvature * minimum**2).sum()
        assert loss.min() < 1e-3, f"no learning rate of the search came near the minimum: {loss}"

    # ----------------------------------------------------------------------------------------------- in lanes

    def test_lanes_equal_separate_runs(self, rule: Rule, lively: Values) -> None:
        # Lanes of different ages, as refills make them: lane i has done i updates when the lanes are stacked.
        from keras import ops

        lanes = [{}, dict(lively), *({**lively, hyper.name: _other(hyper)} for hyper in rule.hypers)]
        for shape in SHAPES:
            gradients = np.random.default_rng(1).normal(size=(3, *shape))
            runs = [self._run(rule, values, gradients, age) for age, values in enumerate(lanes)]
            arrays = [ops.stack([start[i] for start, _ in runs]) for i in range(len(runs[0][0]))]
            w, slots, scalars = self._parts(rule, arrays)
            ages = ops.arange(len(lanes), dtype="float64")
            h = carried(rule, lanes, rank=1)
            for k, g in enumerate(gradients):
                g = ops.broadcast_to(ops.convert_to_tensor(g), w.shape)
                w, slots, scalars = step(rule, h, g, w, slots, scalars, ages + (k + 1))
            for lane, (_, end) in enumerate(runs):
                for array, alone in zip((w, *slots, *scalars), end, strict=True):
                    np.testing.assert_allclose(array[lane], alone, rtol=1e-12, atol=1e-15, err_msg=f"{lanes[lane]}")

    @staticmethod
    def _run(rule: Rule, values: Values, gradients: np.ndarray, age: int) -> list[tuple[Any, ...]]:
        """Weight, slots and scalars of a run after `age` updates, and after all the gradients that then follow."""
        from keras import ops

        h = carried(rule, values)
        start = ops.ones(gradients.shape[1:], "float64")
        seen: list[tuple[Any, ...]] = [(start, *empty(rule, start), *first(rule, "float64"))]
        for t, g in enumerate([*gradients[:1].repeat(age, axis=0), *gradients], start=1):
            w, slots, scalars = RuleTestCase._parts(rule, seen[-1])
            now = ops.convert_to_tensor(float(t), dtype="float64")
            weight, slots, scalars = step(rule, h, ops.convert_to_tensor(g), w, slots, scalars, now)
            seen.append((weight, *slots, *scalars))
        return [seen[age], seen[-1]]

    @staticmethod
    def _parts(rule: Rule, arrays: Sequence[Any]) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
        n_slots = len(rule.slots)
        return arrays[0], tuple(arrays[1 : 1 + n_slots]), tuple(arrays[1 + n_slots :])

    def test_lanes_train_as_fit_does(self, rule: Rule, lively: Values) -> None:
        # The last has all that can stand around a rule, so the program that trains all three has it too. Four batches
        # an epoch are no multiple of 3: gradients wait from one epoch to the next.
        around: dict[str, Any] = {"schedule": "cosine", "warmup": 0.2, "clipnorm": 0.1, "weight_decay": 0.1}
        around |= {"gradient_accumulation_steps": 3}
        if not rule.averaged:  # which would be two averages
            around |= {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 2}
        with floatx("float64"), fits.in_catalogue(rule):
            configs = [OptimizerConfig(rule.name, **each) for each in _choices({}, lively, {**lively, **around})]
            apart = fits.furthest(configs, "stacked", "looped")
        assert max(apart.values()) < _rounding(), apart

    def test_a_lane_of_nan_leaves_its_neighbours_alone(self, rule: Rule, lively: Values) -> None:
        lanes = [dict(lively), {}, dict(lively)]
        gradients = np.random.default_rng(2).normal(size=(6, 3, 4))
        broken = gradients.copy()
        broken[2:, 1] = np.nan
        sound, hurt = (
            path(rule, lanes, lambda w, t, g=given: g[t - 1], np.ones((3, 4)), 6, "float32")  # type: ignore[misc]
            for given in (gradients, broken)
        )
        np.testing.assert_array_equal(hurt[:, [0, 2]], sound[:, [0, 2]])

    # --------------------------------------------------------------------------------------------- with Keras

    @pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
    def test_keras_class_computes_the_rule(self, rule: Rule, lively: Values, dtype: str, tolerance: float) -> None:
        import keras

        flags = [{hyper.name: not hyper.default} for hyper in rule.hypers if hyper.scale == "flag"]
        choices = _choices(defaults(rule), lively, *({**lively, **flag} for flag in flags))
        # Each flag on a kernel, each shape with lively values: no flag is about a shape.
        kernel = (2, 3)
        for shape, values in [*((kernel, each) for each in choices), *((s, lively) for s in SHAPES if s != kernel)]:
            gradients = np.random.default_rng(len(shape)).normal(size=(20, *shape)).astype(dtype)
            with floatx(dtype):
                # The second stands where a model has its output layer, and without a gradient counts for nothing.
                weight, other = (keras.Variable(np.ones(size), dtype=dtype, name="kernel") for size in (shape, (1, 1)))
                apply = compiled_apply(_keras_class(rule)(**values), [weight, other])
                for g in gradients:
                    apply([keras.ops.convert_to_tensor(g), keras.ops.zeros((1, 1), dtype)])
            ours = path(rule, values, lambda w, t, g=gradients: g[t - 1], np.ones(shape), 20, dtype)  # type: ignore[misc]
            np.testing.assert_allclose(weight.numpy(), ours[-1], rtol=tolerance, atol=tolerance, err_msg=f"{values}")

    def test_keras_class_shows_its_arguments(self, rule: Rule) -> None:
        arguments = inspect.signature(_keras_class(rule)).parameters
        assert list(arguments)[: len(rule.hypers)] == [hyper.name for hyper in rule.hypers]
        assert all(arguments[hyper.name].default == hyper.default for hyper in rule.hypers)
        assert {"weight_decay", "clipnorm", "use_ema", "name"} <= set(arguments)

    def test_keras_class_checks_its_values(self, rule: Rule) -> None:
        for hyper in rule.hypers:
            for value in ("0.1", -1.0):
                with pytest.raises(ValueError, match=f"{hyper.name}=.*expected"):
                    _keras_class(rule)(**{hyper.name: value})

    def test_keras_config_round_trip(self, rule: Rule, lively: Values) -> None:
        import keras

        flags = {hyper.name: not hyper.default for hyper in rule.hypers if hyper.scale == "flag"}
        for values in (defaults(rule), {**lively, **flags}):
            made = _keras_class(rule)(**{"weight_decay": 0.01, **values}, clipnorm=1.0, name="mine")
            config = made.get_config()
            assert {name: config[name] for name in values} == pytest.approx(values, rel=1e-6)
            assert json.loads(json.dumps(config)) == config
            for again in (
                type(made).from_config(config),
                keras.optimizers.deserialize(keras.optimizers.serialize(made)),
                keras.optimizers.deserialize(json.loads(json.dumps(keras.optimizers.serialize(made)))),
            ):
                assert type(again) is type(made)
                assert again.get_config() == config

    def test_keras_class_decays_what_it_is_told_to(self, rule: Rule) -> None:
        import keras

        optimizer = _keras_class(rule)(learning_rate=0.1, weight_decay=0.5)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        variables = [keras.Variable(np.ones(2), name=name) for name in ("kernel", "bias")]
        optimizer.apply([keras.ops.zeros(2)] * 2, variables)
        kernel, bias = (variable.numpy() for variable in variables)
        assert np.array_equal(bias, np.ones(2)) and (kernel < 1).all()

    def test_a_mixed_precision_model_learns(self, rule: Rule) -> None:
        import keras

        x = np.random.default_rng(5).normal(size=(32, 4)).astype("float32")
        keras.utils.set_random_seed(0)
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(2)])
            model.compile(optimizer=_keras_class(rule)(), loss="mse", run_eagerly=True)
            start = model.get_weights()
            losses = model.fit(x, x[:, :2], epochs=4, verbose=0).history["loss"]
        finally:
            keras.config.set_dtype_policy(before)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        assert np.isfinite(losses).all() and losses[-1] < losses[0]
        assert all(weight.dtype == np.float32 for weight in start)

    def test_what_is_judged_is_kept(self, rule: Rule, lively: Values, tmp_path: Path) -> None:
        # After `fit` the model holds what was judged, and so does the file of it.
        import keras

        from adamtune.optimizers import AveragedWeights

        x, y = np.random.default_rng(6).normal(size=(2, 8, 2)).astype("float32")
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        model.compile(optimizer=_keras_class(rule)(**lively), loss="mse", run_eagerly=True)
        fit = model.fit(x, y, epochs=3, verbose=0, validation_data=(x, y), callbacks=[AveragedWeights()])
        assert model.evaluate(x, y, verbose=0) == pytest.approx(fit.history["val_loss"][-1], rel=1e-6)
        for variable, average in model.optimizer.averages():
            np.testing.assert_array_equal(variable, average)
        assert bool(model.optimizer.averages()) == (rule.averaged is not None)
        model.save(tmp_path / "model.keras")
        np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras").predict(x), model.predict(x))

    def test_a_sparse_gradient_counts_as_a_dense_one(self, rule: Rule) -> None:
        import keras

        weights = []
        for sparse in (True, False):
            keras.utils.set_random_seed(0)
            rows = keras.Input((2,), dtype="int32")
            if sparse:
                embedded = keras.layers.Embedding(5, 2)(rows)
            else:
                embedded = keras.layers.Dense(2, use_bias=False, kernel_initializer="uniform")(
                    keras.ops.one_hot(rows, 5)
                )
            model = keras.Model(rows, keras.layers.Flatten()(embedded))
            model.set_weights([np.arange(10.0).reshape(5, 2)])
            model.compile(optimizer=_keras_class(rule)(), loss="mse", run_eagerly=True)
            for batch in ([[1, 2]], [[3, 1]]):
                model.train_on_batch(np.array(batch), np.ones((1, 4)))
            weights.append(model.get_weights()[0])
        np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)

    def test_a_saved_model_goes_on_where_it_was(self, rule: Rule, lively: Values, tmp_path: Path) -> None:
        import keras

        x, y = np.random.default_rng(4).normal(size=(2, 8, 2)).astype("float32")
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        model.compile(optimizer=_keras_class(rule)(**lively), loss="mse", run_eagerly=True)
        for _ in range(3):
            model.train_on_batch(x, y)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert type(loaded.optimizer) is type(model.optimizer)
        assert loaded.optimizer.get_config() == model.optimizer.get_config()
        for one, other in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=one.path)
        for each in (model, loaded):
            each.train_on_batch(x, y)
        for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def _choices(*given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(each) for each in given]


def _rounding() -> float:
    """How far two runs of the same training may be apart in float64; on JAX some of Keras' operations are float32."""
    import keras

    return 1e-7 if keras.backend.backend() == "jax" else 1e-9


def _same(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    """Whether two mappings hold the same objects under the same names."""
    return some.keys() == others.keys() and all(some[name] is value for name, value in others.items())


def _keras_class(rule: Rule) -> Any:
    import keras

    from adamtune.optimizers._keras import keras_class

    return keras.saving.register_keras_serializable(package="adamtune")(keras_class(rule))
