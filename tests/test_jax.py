"""With KERAS_BACKEND=jax no part of adamtune imports TensorFlow, which need not even be installed."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")

WITHOUT_TENSORFLOW = """
import importlib.abc, sys

class NoTensorFlow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tf_keras", "tensorboard"):
            raise ImportError(f"{name} is imported under JAX")

sys.meta_path.insert(0, NoTensorFlow())
"""

FIT = """
import pickle, keras, numpy as np
from adamtune import AdamTunerClassifier, OptimizerConfig
from tests.small import X, Y, network

tuner = AdamTunerClassifier(
    network, ["adam", "sgd"], n_trials=6, epochs=2, confirm=1, random_state=0, verbose=1, storage="memory"
).fit(X, Y)
assert keras.backend.backend() == "jax" and tuner.plan_.strategy == "stacked"
again = pickle.loads(pickle.dumps(tuner))
np.testing.assert_array_equal(again.predict_proba(X), tuner.predict_proba(X))
model = network(X, Y)
model.compile(optimizer=tuner.best_config_.to_keras(), loss=tuner.model_.loss)
model.fit(X, Y, verbose=0)
"""

# A model that goes one by one, rows from a disk, a convolution in a loop.
OTHER_WAYS = """
import keras, numpy as np
from tests.small import X, Y, network, tuned

class Own(keras.Sequential):
    def train_step(self, *given):
        return super().train_step(*given)

np.save("X.npy", X)
alone = tuned(X=np.load("X.npy", mmap_mode="r"), model=lambda X, y: Own(network(X, y).layers), n_trials=1, refit=True)
assert alone.plan_.strategy == "one_by_one"
images = np.tile(X[:, :, None, None], (1, 1, 4, 1))
seen = tuned(X=images, n_trials=2, model=lambda X, y: keras.Sequential([
    keras.Input(X.shape[1:]), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(3)]))
assert seen.plan_.strategy == "looped"
"""

# Limits its own memory, once all that it needs besides lanes is loaded: 16 lanes of a wide network take 770 MB.
SHORT_OF_MEMORY = """
import resource, keras
from tests.small import X, Y, network, tuned

def wide(X, y):
    return keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(n) for n in (2000, 2000, 3))])

tuned(n_trials=1, epochs=1)
with open("/proc/self/status") as status:
    used = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + 600 * 2**20, resource.RLIM_INFINITY))
settings = {"model": wide, "lanes": "auto", "epochs": 1, "sampler": "random", "pruner": None}
settings |= {"storage": "sqlite:///short.db", "study_name": "short", "resume": True}
first = tuned(n_trials=8, **{**settings, "lanes": 16})
assert set(first.trials_["state"]) == {"complete"} and len(first.trials_) == 8
assert first.plan_.lanes == first.study_.user_attrs["adamtune:lanes"] < 16, first.plan_
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)  # what was found out stays
again = tuned(n_trials=9, **settings)
assert len(again.trials_) == 9 and again.plan_.lanes == first.plan_.lanes
"""

COMMAND = """
import runpy
sys.argv[1:] = {arguments}
try:
    runpy.run_module("adamtune", run_name="__main__")
except SystemExit as left:
    assert not left.code, left.code
"""


def run(program, folder):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW + program + "\nassert 'tensorflow' not in sys.modules\nprint('end')"],
        env={
            **os.environ,
            "KERAS_BACKEND": "jax",
            "PYTHONPATH": os.getcwd(),
            "ADAMTUNE_STORAGE": "sqlite:///studies.db",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_import_of_tensorflow_would_be_noticed(tmp_path):
    done = run("import tensorflow", tmp_path)
    assert done.returncode and "tensorflow is imported under JAX" in done.stderr
    done = run("import sys; sys.modules['tensorflow'] = sys", tmp_path)
    assert done.returncode and "AssertionError" in done.stderr


@pytest.mark.parametrize("program", [FIT, OTHER_WAYS], ids=["fit", "other ways"])
def test_tuning_needs_no_tensorflow(program, tmp_path):
    done = run(program, tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("end\n"), done.stderr[-3000:]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to so much memory")
def test_a_process_that_is_short_of_memory_goes_on_with_fewer_lanes(tmp_path):
    """On TensorFlow memory cannot run short in a test: what is not its own allocator's ends the process."""
    done = run(SHORT_OF_MEMORY, tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("end\n"), done.stderr[-3000:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["doctor"], "jax"),
        (["tune", "rows.csv", "--target", "label", "--n-trials", "3", "--epochs", "2"], "model.compile("),
    ],
)
def test_commands_need_no_tensorflow(arguments, said, tmp_path):
    rows = [f"{i},{i % 7},{'yes' if i % 2 else 'no'}" for i in range(40)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,label", *rows]))
    done = run(textwrap.dedent(COMMAND.format(arguments=arguments)), tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("end\n"), done.stderr[-3000:]
    assert said in done.stdout


def test_a_persistent_cache_of_the_user_keeps_the_programs(tmp_path):
    """However quick they were to compile: the second process compiles neither again."""
    program = f"""
import jax
jax.config.update("jax_compilation_cache_dir", {str(tmp_path / "cache")!r})
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("cache_hits") else None)
from tests.small import tuned
assert tuned().plan_.strategy == "stacked"
print("hits", len(hits))
"""
    first, second = (run(program, tmp_path) for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr[-3000:] + second.stderr[-3000:]
    assert {name.split("-")[0] for name in os.listdir(tmp_path / "cache")} >= {"jit__train", "jit__judge"}
    assert "hits 0" in first.stdout and "hits 2" in second.stdout
