"""Saving: an estimator as one file of data, and back.

The file is a zip, uncompressed, of at most four members: `adamtune.json` holds the parameters and what `fit` learned,
`arrays.npz` the arrays among them, `model.keras` a model that was given and `model_.keras` the one that was trained.
Nothing in it is code: values are plain (see `plain`), arrays are read without pickle and models in Keras' safe mode.

A parameter that is a function, or an object that only code makes, comes back as `Absent`: the estimator predicts, and
`fit` says what is missing. Any other value that is not plain is refused when it would be written.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import stat
import uuid
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]  # what Keras writes weights with
import numpy as np

from adamtune import optimizers
from adamtune.errors import AdamTuneError, ModelError, StorageError
from adamtune.plain import Absent, NotPlain, from_plain, to_plain
from adamtune.tasks import networks
from adamtune.tuning import storage

_FORMAT = 1
_STATE, _ARRAYS, _GIVEN, _TRAINED = "adamtune.json", "arrays.npz", "model.keras", "model_.keras"
# Keras does not compress its files either, but promises nowhere that it never will.
_MOST_EXPANSION = 100
# What scikit-learn keeps in an estimator of how others use it, and what sets it.
_OF_SCIKIT_LEARN = {"_skl_callbacks": "set_callbacks", "_metadata_request": "set_fit_request and set_score_request"}


def write(path: str | os.PathLike[str], tuner: Any, classes: Sequence[type]) -> None:
    """Write an estimator into a file, whole or not at all; a file that is there is replaced.

    Parameters
    ----------
    path : str or path
    tuner : AdamTuner
        Fitted or not. Passwords in its `storage` are masked; of `study_` the name is kept.
    classes : sequence of type
        Those that `read` will be given.

    Raises
    ------
    StorageError
        When the file cannot be written, or an attribute is not plain.
    ModelError
        When Keras cannot save a model, or would not load it again.
    """
    if type(tuner) not in classes:
        names = ", ".join(cls.__name__ for cls in classes)
        raise StorageError(f"{type(tuner).__name__} cannot be saved, expected {names}: a file holds data and no code.")
    learned = _state(tuner)
    given = {name: learned.pop(name) for name in tuner.get_params(deep=False)}
    if isinstance(given["storage"], str | os.PathLike):
        given["storage"] = storage.redact(os.fspath(given["storage"]))
    members = {}
    for name, member, values in (("model", _GIVEN, given), ("model_", _TRAINED, learned)):
        if isinstance(values.get(name), bytes):
            members[member] = _without_code(name, values.pop(name))
    arrays: list[np.ndarray] = []
    state = {
        "format": _FORMAT,
        "adamtune": _version(),
        "class": type(tuner).__name__,
        "parameters": {name: _parameter(value, arrays) for name, value in given.items()},
        "learned": {name: _attribute(name, value, arrays) for name, value in learned.items()},
    }
    members[_STATE] = json.dumps(state, indent=1, allow_nan=False).encode()
    members[_ARRAYS] = _arrays_to_bytes(arrays)
    _write(Path(path), members)


def read(path: str | os.PathLike[str], classes: Sequence[type]) -> Any:
    """The estimator in a file, of one of the classes; no code from the file is run.

    Raises
    ------
    StorageError
        When there is no such file, or it is damaged, or foreign, or of a newer adamtune.
    ModelError
        When Keras does not know what the trained model is made of.
    """
    path = Path(path)
    members = _read(path)
    try:
        state = json.loads(members[_STATE])
        _check_format(path, state)
        cls = {cls.__name__: cls for cls in classes}[state["class"]]
        arrays = _arrays_from_bytes(members[_ARRAYS])
        given, learned = (
            {name: from_plain(value, arrays) for name, value in state[part].items()}
            for part in ("parameters", "learned")
        )
        for name in learned:
            if not name.isidentifier() or name.startswith("__") or callable(getattr(cls, name, None)):
                raise ValueError(f"{name!r} is no attribute of a fitted estimator")
        optimizers.register()
        if _GIVEN in members:
            given["model"] = _given_model(members[_GIVEN])
        if _TRAINED in members:
            learned["model_"] = _trained_model(members[_TRAINED])
        tuner = cls(**given)
    except AdamTuneError:
        raise
    except Exception as error:  # whatever the parts make of bytes that somebody changed
        raise _damaged(path, error) from error
    vars(tuner).update(learned)
    return tuner


def _state(tuner: Any) -> dict[str, Any]:
    """What a pickle would hold, models as bytes; without how others use the estimator."""
    try:
        with _ignored("You are saving a model that has not yet been built"):
            state = dict(tuner.__getstate__())
    except Exception as error:
        raise ModelError(f"Keras cannot save the model: {type(error).__name__}: {error}") from error
    for name, setter in _OF_SCIKIT_LEARN.items():
        if state.pop(name, None):
            warnings.warn(f"What {setter} set is not in the file: set it again after loading.", stacklevel=4)
    return state


def _parameter(value: Any, arrays: list[np.ndarray]) -> Any:
    try:
        return to_plain(value, arrays)
    except NotPlain as error:
        is_part = isinstance(value, list | tuple | dict | np.ndarray)
        return to_plain(Absent(f"a {type(value).__name__} with {error}" if is_part else str(error)), arrays)


def _attribute(name: str, value: Any, arrays: list[np.ndarray]) -> Any:
    try:
        return to_plain(value, arrays)
    except NotPlain as error:
        raise StorageError(
            f"{name} is or holds {error}, and a file holds data and no code: delete the attribute to save the "
            "estimator, or pickle it."
        ) from None


def _version() -> str:
    return importlib.metadata.version("adamtune")


# ------------------------------------------------------------------------------------------------------- the file


def _write(path: Path, members: dict[str, bytes]) -> None:
    """Write a zip beside its place and move it there, so that no crash leaves half a file; a new one is its owner's."""
    if path.is_dir():
        raise StorageError(f"{str(path)!r} is a folder: name a file in it, like {str(path / 'tuner.adamtune')!r}.")
    unfinished = path.with_name(f".{uuid.uuid4().hex}.unfinished")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
        with open(unfinished, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, content in members.items():
                    archive.writestr(name, content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(mode)
        unfinished.replace(path)
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, bytes]:
    """The members of a file; other names than ours are never looked up."""
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive, path.stat().st_size)
            ours = {_STATE, _ARRAYS, _GIVEN, _TRAINED} & set(archive.namelist())
            if _STATE not in ours:
                raise ValueError(f"there is no {_STATE} in it")
            return {name: archive.read(name) for name in ours}
    except OSError as error:
        said = error.strerror or error
        raise StorageError(f"{str(path)!r} cannot be read: {said}. Expected a file of tuner.save(path).") from error
    except Exception as error:  # zipfile has one for each unusual member
        raise _damaged(path, error) from error


def _refuse_bomb(archive: zipfile.ZipFile, size: int, most: int = 1) -> None:
    """Raise ValueError where members would take more than `most` times the archive's bytes."""
    if sum(member.file_size for member in archive.infolist()) > most * size:
        raise ValueError("what is in it takes more than there is")


def _check_format(path: Path, state: dict[str, Any]) -> None:
    number = state["format"]
    if type(number) is not int or number < 1:
        raise ValueError("unknown format")
    if number > _FORMAT:
        raise StorageError(
            f"{str(path)!r} is of a newer adamtune, {str(state.get('adamtune'))[:20]}; this is {_version()}: run "
            "`pip install -U adamtune`."
        )


def _damaged(path: Path, error: Exception) -> StorageError:
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return StorageError(f"{str(path)!r} is damaged, or is no file of tuner.save(path) ({said}).")


# ------------------------------------------------------------------------------------------------- the other members


def _arrays_to_bytes(arrays: list[np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    named = {str(number): array for number, array in enumerate(arrays)}
    np.savez(buffer, **named)  # type: ignore[arg-type]
    return buffer.getvalue()


def _arrays_from_bytes(content: bytes) -> list[np.ndarray]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _refuse_bomb(archive, len(content))
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        arrays = [stored[str(number)] for number in range(len(stored.files))]
    if not all(isinstance(array, np.ndarray) for array in arrays):  # bytes are what numpy gives of what is no array
        raise ValueError(f"not everything in {_ARRAYS} is an array")
    return arrays


def _without_code(name: str, content: bytes) -> bytes:
    """The model as it is; raises ModelError where Keras would not load it again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        described = json.loads(archive.read("config.json"))
    described.pop("compile_config", None)  # without which a model predicts
    if '"__lambda__"' in json.dumps(described):
        raise ModelError(
            f"{name} holds a lambda, which is code and would not be loaded again: write a layer of your own, or a "
            "function with @keras.saving.register_keras_serializable()."
        )
    return content


def _model_from_bytes(content: bytes, trains: bool) -> Any:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _refuse_bomb(archive, len(content), _MOST_EXPANSION)
        for name in archive.namelist():
            if name.endswith(".h5"):
                with h5py.File(io.BytesIO(archive.read(name)), "r") as weights:
                    _refuse_other_files(weights)
    # The optimizer of a model that was compiled and not trained has fewer variables than the one Keras makes.
    with _ignored("Skipping variable loading for optimizer"):
        return networks.from_bytes(content, trains=trains)


def _refuse_other_files(group: Any) -> None:
    """Raise ValueError where weights stand in another file, from which some versions of Keras would read them."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{name!r} in its weights is in another file")
        found = group[name]
        if isinstance(found, h5py.Group):
            _refuse_other_files(found)
        elif found.external or found.is_virtual:
            raise ValueError(f"{name!r} in its weights is in another file")


def _given_model(content: bytes) -> Any:
    try:
        return _model_from_bytes(content, trains=True)
    except ModelError as error:
        return Absent("a keras.Model", f"could not be loaded ({error})")


def _trained_model(content: bytes) -> Any:
    model = _model_from_bytes(content, trains=False)
    if not model.compiled:
        warnings.warn(
            "model_ predicts, but was compiled with a loss or metric that Keras does not know here: compile it before "
            "you train it further.",
            stacklevel=4,
        )
    return model


@contextlib.contextmanager
def _ignored(beginning: str) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", beginning)
        yield
