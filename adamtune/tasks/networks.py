"""Where a task's model comes from: a sensible default network, a clone, or the user's function.

Every call with the same seed gives a model with the same weights; another seed gives fresh ones. That is all the engine
and `confirm` need to know about models.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import pathlib
import random
import re
import sys
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from adamtune.errors import ModelError
from adamtune.tasks.data import Data
from adamtune.tasks.inputs import Inputs, Named, of_parts
from adamtune.tasks.sizes import hidden_width

# Deviations of inputs below and above which `keras.layers.Normalization` makes zeros of them: it takes none for less
# than its epsilon of 1e-7, and squares them in float32.
_TINY, _HUGE = 1e-5, 1e15


def builder(model: Any, X: Any, y: Any, data: Data, train: np.ndarray) -> Callable[[int], Any]:
    """A function of a seed that returns a built model with weights of that seed.

    Parameters
    ----------
    model : None, keras.Model or callable
        None is `default_network`. A model is cloned: the clone has fresh weights, except those of frozen layers and
        what layers have learned by `adapt`. A callable is called as `model(X, y)` for every model that is needed, and
        what it returns is taken as it is: weights it loads are those that training starts from, whatever the seed.
    X, y
        As the user gave them, for the callable.
    data : Data
        What the model will be trained on.
    train : ndarray
        Rows the default network may learn its input scaling from.
    """
    if model is None:
        make: Callable[[], Any] = lambda: default_network(data, train)  # noqa: E731
    elif isinstance(model, keras.Model):
        make = lambda: _clone(model)  # noqa: E731
    elif callable(model) and not isinstance(model, keras.Layer):
        make = lambda: call(model, X, y)  # noqa: E731
    else:
        raise ModelError(
            f"model={model!r} is a {type(model).__name__}: expected None, a keras.Model or a function "
            "model(X, y) that returns one."
        )
    last: Callable[[], Any] = lambda: None  # noqa: E731

    def build(seed: int) -> Any:
        nonlocal last
        made = seeded(seed, make)
        if made is last():
            raise ModelError(
                f"your function {_name(model)}(X, y) returned the same model again, expected a new one each time: make "
                "its layers inside the function."
            )
        last = weakref.ref(made)
        if not made.built:
            seeded(seed, lambda: check(made, data))
        if isinstance(model, keras.Model):
            _keep_untrained(model, made)
        return made

    return build


def default_network(data: Data, train: np.ndarray) -> Any:
    """A dense network: scaled inputs, two hidden layers, logits or numbers out.

    Inputs are standardised over the training rows, or over 32 MB of them when they are more (whole-number images are
    divided by their largest value instead); several inputs are put side by side; for the width see `sizes`.
    """
    parts = data.x.parts
    inputs = {
        name: keras.Input(part.row_shape, dtype=part.dtype.name, name=name or None) for name, part in parts.items()
    }
    flat = [_scaled(inputs[name], part.sample(train)) for name, part in parts.items()]
    x = flat[0] if len(flat) == 1 else keras.layers.Concatenate()(flat)
    width = hidden_width(x.shape[1])
    x = keras.layers.Dense(width, activation="relu")(x)
    x = keras.layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs.get("", inputs), keras.layers.Dense(data.n_outputs)(x))


def _scaled(inputs: Any, sample: np.ndarray) -> Any:
    """Inputs as flat rows of small numbers."""
    if sample.dtype.kind in "iu":
        x = keras.layers.Rescaling(1.0 / max(1, int(sample.max())))(inputs)
    else:
        axes = tuple(range(sample.ndim - 1)) if sample.ndim > 2 else 0
        mean = sample.mean(axis=axes, dtype="float64")
        variance = sample.var(axis=axes, dtype="float64")
        variance = np.where(variance > 0, variance, 1.0)
        unit = 2.0 ** np.clip(np.round(np.log2(variance) / 2), -126, 126)
        unit = np.where((unit < _TINY) | (unit > _HUGE), unit, 1.0)
        x = keras.layers.Rescaling((1 / unit).tolist())(inputs) if (unit != 1).any() else inputs
        x = keras.layers.Normalization(mean=mean / unit, variance=variance / unit**2)(x)
    return keras.layers.Flatten()(x) if sample.ndim > 2 else x


def _clone(model: Any) -> Any:
    # Keras would compile the clone from a description, which knows no loss of one's own and no argument of Huber's.
    compiled, model.compiled = model.compiled, False
    try:
        clone = keras.models.clone_model(model)
    except Exception as error:
        raise ModelError(
            f"the model {model.name!r} ({type(model).__name__}) cannot be cloned: {_first_line(error)} "
            "Pass a function model(X, y) that returns a new one."
        ) from error
    finally:
        model.compiled = compiled
    if compiled:
        clone.compile(loss=model.loss)
    return clone


def built(model: Any, row_shape: tuple[int, ...]) -> Any:
    """The model if it has its weights, else a clone that is built for rows of that shape."""
    if model.built:
        return model
    clone = _clone(model)
    try:
        clone.build((None, *row_shape))
    except Exception as error:
        raise ModelError(
            f"the model {model.name!r} has no weights yet and cannot be built for rows of shape {row_shape}: "
            f"{_first_line(error)} Begin it with keras.Input(shape)."
        ) from error
    return clone


def _keep_untrained(model: Any, clone: Any) -> None:
    """Give a clone what training would not give it back: frozen weights, adapted statistics and vocabularies."""
    if not model.built:
        return
    layers = [each._flatten_layers(include_self=False) for each in (model, clone)]
    for old, new in zip(*layers, strict=True):
        adapted = isinstance(old, keras.layers.Normalization)
        if (adapted or not old.trainable) and old.weights:
            new.set_weights(old.get_weights())
            if adapted:
                new.finalize_state()
        if not old.trainable:
            new.trainable = False  # a subclassed model describes its layers without it
        if isinstance(old, keras.layers.IntegerLookup):
            _keep_vocabulary(old, new)


def _keep_vocabulary(old: Any, new: Any) -> None:
    try:
        new.set_vocabulary(old.get_vocabulary(include_special_tokens=False))
    except ValueError as error:  # Keras gives the weights of "tf_idf" to nobody
        raise ModelError(
            f"the vocabulary of layer {old.name!r} cannot be cloned: {_first_line(error)} Pass a function model(X, y) "
            "that makes the layer and adapts it."
        ) from error


def call(model: Callable, X: Any, y: Any) -> Any:
    """What the user's function returns, which has to be a model."""
    try:
        made = model(X, y)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ModelError(f"your function {_name(model)}(X, y) failed with {said}") from error
    if not isinstance(made, keras.Model):
        raise ModelError(
            f"your function {_name(model)}(X, y) returned a {type(made).__name__}, expected a keras.Model."
        )
    return made


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def seeded(seed: int, make: Callable[[], Any]) -> Any:
    """What `make` returns when run with every generator Keras draws from seeded.

    Python's and numpy's generators are given back as they were.
    """
    python, numpy = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        return make()
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextlib.contextmanager
def lean() -> Iterator[None]:
    """Keep Keras from importing TensorFlow where another backend runs.

    Keras does so, wherever TensorFlow is installed, only to ask whether an object is one of its own: when a layer is
    described, say. That takes seconds, and memory that a graphics card may need.
    """
    from keras.src.utils.module_utils import tensorflow

    if keras.backend.backend() == "tensorflow" or "tensorflow" in sys.modules:
        yield
        return
    before, tensorflow._available = tensorflow._available, False
    try:
        yield
    finally:
        tensorflow._available = before


def to_bytes(model: Any) -> bytes:
    """A model as the bytes of a `.keras` file: architecture, weights, optimizer state, loss with all its arguments."""
    with lean(), tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        keras.saving.save_model(model, path)
        content = path.read_bytes()
    forgotten = _forgotten(getattr(model, "loss", None))
    return _with_loss_arguments(content, forgotten) if forgotten else content


def _forgotten(loss: Any) -> dict[str, Any]:
    """Arguments that Keras leaves out of the config of its own loss, such as the delta of Huber: they are numbers."""
    if not isinstance(loss, keras.losses.Loss):
        return {}
    kept, takes = loss.get_config(), inspect.signature(type(loss)).parameters
    given = {name: value for name, value in getattr(loss, "_fn_kwargs", {}).items() if isinstance(value, int | float)}
    return {name: value for name, value in given.items() if name in takes and name not in kept}


def _with_loss_arguments(content: bytes, arguments: dict[str, Any]) -> bytes:
    """A `.keras` file whose loss has these arguments too."""
    told = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(told, "w", zipfile.ZIP_STORED) as after:
        for name in before.namelist():
            member = before.read(name)
            if name == "config.json":
                described = json.loads(member)
                # Not there where `compile` is the user's own.
                loss = (described.get("compile_config") or {}).get("loss")
                if isinstance(loss, dict) and isinstance(loss.get("config"), dict):
                    loss["config"] |= arguments
                member = json.dumps(described).encode()
            after.writestr(name, member)
    return told.getvalue()


def from_bytes(content: bytes, trains: bool = False) -> Any:
    """The model that `to_bytes` stored, loaded in Keras' safe mode: no code from the file is run.

    Parameters
    ----------
    trains : bool
        Whether the model has to know its loss again; one that only predicts can do without.

    Raises
    ------
    ModelError
        For what safe mode does not load, or Keras does not know.
    """
    with lean(), tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        path.write_bytes(content)
        try:
            return keras.saving.load_model(path, safe_mode=True)
        except (TypeError, ValueError) as error:
            # Compiled with a loss or metric of one's own that Keras does not know: the model still predicts.
            with contextlib.suppress(TypeError, ValueError):
                if not trains:
                    return keras.saving.load_model(path, safe_mode=True, compile=False)
            raise ModelError(
                f"the model cannot be loaded: {_first_line(error)} Keras knows your own classes and functions by "
                "@keras.saving.register_keras_serializable(), once the module that holds them is imported; a lambda is "
                "code and is not run. Or pass a function model(X, y) instead of a model."
            ) from error


def check(model: Any, data: Data) -> None:
    """Raise ModelError when the model cannot take the rows or be trained on them; builds one that is not built yet."""
    _check_names(model, data.x)
    _check_layers(model)
    check_rows(model, data.x)
    if not model.trainable_variables:
        raise ModelError(f"the model {model.name!r} has no trainable weights: there is nothing for an optimizer to do.")


def check_rows(model: Any, x: Inputs | Named) -> None:
    """Raise ModelError when the model cannot take such rows; builds one that is not built yet."""
    try:
        if isinstance(model, keras.Sequential) and not model.built and isinstance(x, Inputs):
            model.build((None, *x.row_shape))  # by a call it would take one row for its batch size
        row = x[:1]
        if keras.backend.backend() == "jax":  # which would compile every operation for this one row
            row = keras.tree.map_structure(lambda part: keras.KerasTensor(part.shape, part.dtype.name), row)
        model(row)
    except Exception as error:
        # Keras puts colours and a list of arguments around what it has to say.
        said = re.sub(r"\x1b\[\d+m", "", str(error)).split("Arguments received")[0].strip()
        raise ModelError(f"the model {model.name!r} cannot take rows of shape {x.row_shape}: {said}") from error


def _check_names(model: Any, x: Inputs | Named) -> None:
    declared = _inputs(model)
    if isinstance(x, Inputs) and len(declared) > 1:
        arrays = ", ".join(f"{name!r}: ..." for name in declared)
        raise ModelError(
            f"the model {model.name!r} has {len(declared)} inputs ({', '.join(declared)}), but X is one array: "
            f"expected a dict of arrays by these names, X = {{{arrays}}}."
        )
    if isinstance(x, Named) and declared and declared.keys() != x.parts.keys():
        raise ModelError(
            f"the model {model.name!r} has inputs named {', '.join(declared)}, but X is a dict of "
            f"{', '.join(x.parts)}: expected the same names, which are those of keras.Input(shape, name=...)."
        )


def _check_layers(model: Any) -> None:
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, (keras.layers.StringLookup, keras.layers.TextVectorization)):
            raise ModelError(
                f"the layer {layer.name!r} ({type(layer).__name__}) reads text, but rows are numbers here. Run it on "
                "the text first and give its whole numbers as X, for a model that begins with Embedding."
            )
        if getattr(layer, "stateful", False):
            raise ModelError(
                f"the layer {layer.name!r} ({type(layer).__name__}) is stateful: what it keeps of one batch would go "
                "into the next, whose rows have nothing to do with it, because rows are shuffled. Leave stateful=True "
                "out."
            )


def _inputs(model: Any) -> dict[str, Any]:
    """The inputs that a model declares, by the names it takes them by; a subclassed one declares none."""
    try:
        tensors = list(getattr(model, "inputs", None) or [])
    except AttributeError:  # a Sequential that is not built
        return {}
    named = getattr(model, "input", None)  # a Sequential that was never called has none
    if isinstance(named, dict) and len(named) == len(tensors):
        return dict(named)
    return {tensor.name: tensor for tensor in tensors}


def typed(data: Data, model: Any) -> Data:
    """The data as the model's input wants it: whole numbers stay whole where the model declares them.

    A table of whole numbers is otherwise taken as floats, and a float32 holds ids exactly only up to 2**24.
    """
    declared = _inputs(model)
    if isinstance(data.x, Inputs):
        declared = {"": next(iter(declared.values()), None)}  # whatever the model calls it
    parts = {name: _whole(part, declared.get(name)) for name, part in data.x.parts.items()}
    return data if parts == data.x.parts else replace(data, x=of_parts(parts))


def _whole(part: Inputs, wanted: Any) -> Inputs:
    """The rows as whole numbers, if they are and the model's input wants them."""
    if getattr(wanted, "dtype", None) in ("int32", "int64") and all(block.dtype.kind in "iu" for block in part.blocks):
        return replace(part, dtype=np.dtype(wanted.dtype))
    return part


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
