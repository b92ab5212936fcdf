"""Workers: a study spread over processes, by joblib and whatever engine it is told to use.

Each worker opens the study by its URL, trains lanes of its own and leaves when the study has all its trials; who asks
whom for what is settled in the database (`tuning.leases`, `tuning.sharing`). `joblib.parallel_config` chooses where
workers run: processes of this machine, or a Dask or Ray cluster. The same work in a process that somebody starts by
hand is `adamtune worker`, or a second `fit` with `resume=True`.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Generator
from typing import Any

import joblib  # type: ignore[import-untyped]
import keras
import optuna

from adamtune.errors import SettingError
from adamtune.tuning import loop, records
from adamtune.tuning.storage import absolute, redact

# Seconds between looks at what workers have done, and for those that are told to stop at once.
_POLL, _STOPPING = 0.5, 30.0


def count(n_jobs: int | None, url: str) -> int:
    """How many workers `n_jobs` means here: joblib's answer, so what `joblib.parallel_config` says counts.

    Raises
    ------
    SettingError
        When they could not work together: without a database, or as threads of one process.
    """
    if n_jobs is not None and (not isinstance(n_jobs, int) or n_jobs == 0):
        raise SettingError(f"n_jobs={n_jobs!r}: expected a number of processes, -1 for one a core, or None.")
    wanted = int(joblib.effective_n_jobs(n_jobs))
    if n_jobs is None and url == "memory":
        return 1
    if wanted > 1 and url == "memory":
        raise SettingError(
            f"n_jobs={n_jobs} with storage='memory': workers share a study through its database. Write "
            "storage='sqlite:///runs.db', or the URL of a server that all of them can reach."
        )
    if wanted > 1 and getattr(joblib.parallel.get_active_backend()[0], "supports_sharedmem", False):
        raise SettingError(
            f"n_jobs={n_jobs} in threads: a backend of Keras belongs to one thread. Leave out backend='threading' and "
            "require='sharedmem' of joblib.parallel_config."
        )
    return wanted


class Sealed:
    """A URL with its password on the way to a worker: it is whole there, and shown nowhere.

    >>> Sealed("postgresql://ada:s3cret@host/studies")
    'postgresql://ada:***@host/studies'
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __repr__(self) -> str:
        return repr(redact(self.url))


def search(worker: Any, given: tuple, study: optuna.Study, url: str, n_workers: int) -> Generator[loop.Event]:
    """Let workers search a study, and tell what they do.

    Parameters
    ----------
    worker : AdamTuner
        What each of them gets, ready to join the study; without a storage, which goes beside it.
    given : tuple
        What `fit` was given.
    n_workers : int

    Yields
    ------
    TrialEnded, Ticked
        When the generator is closed early, workers stop at once, and whoever else trains this study: their trials are
        told to have failed.
    """
    parallel = joblib.Parallel(n_jobs=n_workers, batch_size=1, pre_dispatch="all")
    job, url = joblib.delayed(_work), absolute(url)  # workers may be in another folder
    jobs = [job(worker, given, Sealed(url), study.study_name, keras.config.floatx()) for _ in range(n_workers)]
    failed: list[BaseException] = []

    def run() -> None:
        try:
            parallel(jobs)
        except BaseException as error:  # of a thread: told below, where somebody listens
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    known = {trial.number for trial in study.get_trials(deepcopy=False, states=records.FINISHED)}
    before, is_told = len(known), False
    records.set_note(study, "stop", None)
    study._stop_flag = False
    thread.start()
    try:
        is_running = True
        while is_running:
            is_running = thread.is_alive()  # before the look, so that nothing is missed after the last one
            trials = study.get_trials(deepcopy=False)
            for trial in trials:
                if trial.state in records.FINISHED and trial.number not in known:
                    known.add(trial.number)
                    yield _ended(trial)
            running = sum(trial.state == optuna.trial.TrialState.RUNNING for trial in trials)
            yield loop.Ticked(running, sum(trial.last_step or 0 for trial in trials))
            if study._stop_flag and not is_told:
                is_told = True
                records.set_note(study, "stop", "soon")
            thread.join(_POLL)
    finally:
        if thread.is_alive():
            records.set_note(study, "stop", "now")
            thread.join(_STOPPING)
        if not thread.is_alive():  # who still trains has to see it; the next fit takes it back
            records.set_note(study, "stop", None)
    if failed and len(known) == before:
        raise failed[0]
    if failed:
        warnings.warn(
            f"A worker ended before the study did ({redact(repr(failed[0]))}); the rest is trained here.",
            UserWarning,
            stacklevel=2,
        )


def _ended(trial: optuna.trial.FrozenTrial) -> loop.TrialEnded:
    diverged = records.diverged(trial)
    state = "diverged" if diverged else trial.state.name.lower()
    value = None if diverged else trial.value
    return loop.TrialEnded(trial.number, records.config_of(trial), state, value, trial.user_attrs.get("epochs", 0))


def _work(worker: Any, given: tuple, sealed: Sealed, name: str, floatx: str) -> None:
    """A worker's whole life, in a process of its own."""
    keras.config.set_floatx(floatx)
    x, y, sample_weight, validation_data, groups = given
    worker.set_params(storage=sealed.url, study_name=name)
    worker.join(x, y, sample_weight, validation_data=validation_data, groups=groups)
