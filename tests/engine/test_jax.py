"""Under JAX nothing imports TensorFlow: a whole tuning runs in a process where that is an error."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")

_BLOCKED = """
    import importlib.abc
    import sys

    class NoTensorFlow(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in ("tensorflow", "tf_keras"):
                raise ImportError(f"{name} is imported under JAX")

    sys.meta_path.insert(0, NoTensorFlow())
"""


def run(program, tmp_path):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_BLOCKED) + textwrap.dedent(program)],
        env={**os.environ, "KERAS_BACKEND": "jax", "ADAMTUNE_STORAGE": "memory"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_blocker_would_notice(tmp_path):
    done = run("import tensorflow", tmp_path)
    assert done.returncode
    assert "tensorflow is imported under JAX" in done.stderr


def test_a_tuning_under_jax_imports_no_tensorflow(tmp_path):
    done = run(
        """
        import numpy as np
        from adamtune import AdamTunerClassifier

        rng = np.random.default_rng(0)
        X = rng.normal(size=(90, 5)).astype("float32")
        y = (X[:, 0] > 0).astype(int)
        tuner = AdamTunerClassifier(optimizer=["adam", "sgd"], n_trials=6, epochs=2, verbose=0, random_state=0)
        tuner.fit(X, y)
        assert np.isfinite(tuner.best_score_)
        tuner.predict(X)

        import keras
        assert keras.backend.backend() == "jax"
        assert "jax" in sys.modules and "tensorflow" not in sys.modules
        print("done")
        """,
        tmp_path,
    )
    assert done.stdout.strip().endswith("done"), done.stderr[-3000:]
