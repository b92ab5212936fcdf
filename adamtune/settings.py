"""Settings: the arguments of an AdamTuner, checked and made into what the parts below understand.

Everything that can be refused without looking at the data is refused here, before any work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adamtune import optimizers
from adamtune.config import OptimizerConfig
from adamtune.errors import SettingError, whole
from adamtune.optimizers import gradients, schedules
from adamtune.optimizers._rule import Rule
from adamtune.tuning import policies, storage
from adamtune.tuning.space import Space, space


@dataclass(frozen=True)
class Settings:
    """What a user asked for.

    Parameters
    ----------
    kind : {"auto", "classification", "regression"}
    space : Space
        Of all optimizers that are tuned.
    start_from : tuple of OptimizerConfig
        To be tried first, the defaults not among them.
    learns_from : {"shipped", "store"} or None
        Whose experience says what else is tried first.
    sampler, pruner
        As given.
    """

    kind: str
    space: Space
    start_from: tuple[OptimizerConfig, ...]
    learns_from: str | None
    sampler: policies.Sampler
    pruner: policies.Pruner

    def starting(self, recommended: Sequence[OptimizerConfig] = ()) -> list[OptimizerConfig]:
        """Configs to try first: each optimizer's defaults (which a wave begins with by itself), then what was given.

        None twice: wherever one was found, it trains the same.
        """
        once: dict[OptimizerConfig, OptimizerConfig] = {}
        for config in [*([] if self.space.wave else self.space.defaults()), *self.start_from, *recommended]:
            once.setdefault(config.found_with(None), config)
        return list(once.values())

    def keeping(self, options: dict[str, Any]) -> Settings:
        """The same with what the optimizer of the user's model does besides its rule."""
        if self.space.options.get("use_ema") is False:  # without averages there is nothing to keep of them
            options = {name: value for name, value in options.items() if not name.startswith("ema_")}
        return replace(self, space=self.space.keeping(options)) if options else self


_KINDS = {"auto", "classification", "regression"}
_SHARE = 0.2  # of the rows that judge when nobody says otherwise


def check(tuner: Any, kind: str, is_split: bool = True) -> Settings:
    """The settings of an AdamTuner.

    Parameters
    ----------
    kind : {"auto", "classification", "regression"}
    is_split : bool
        Whether judging rows have to be split off, because none were given.

    Raises
    ------
    SettingError, ConfigError
        For what is out of range, has no effect beside the others, or is not there yet.
    """
    _present(tuner)
    if tuner.task not in _KINDS or tuner.task not in ("auto", kind):
        raise SettingError(f"task={tuner.task!r}: expected 'auto'{'' if kind == 'auto' else f' or {kind!r}'}.")
    for name, least in (("n_trials", 1), ("epochs", 1), ("batch_size", 1), ("n_seeds", 1), ("confirm", 0)):
        whole(name, getattr(tuner, name), least)
    whole("verbose", int(tuner.verbose), 0)
    if tuner.timeout is not None and not (isinstance(tuner.timeout, (int, float)) and tuner.timeout > 0):
        raise SettingError(f"timeout={tuner.timeout!r}: expected seconds > 0, or None for no limit.")
    if not (isinstance(tuner.validation_split, (int, float)) and 0 < tuner.validation_split < 1):
        raise SettingError(f"validation_split={tuner.validation_split!r}: expected a share between 0 and 1.")
    if tuner.validation_split != _SHARE and (tuner.cv is not None or not is_split):
        other = "cv" if tuner.cv is not None else "validation_data"
        raise SettingError(
            f"validation_split={tuner.validation_split} has no effect, because {other} says which rows judge: leave "
            "one of them out."
        )
    if tuner.refit not in (True, False, "train"):
        raise SettingError(f"refit={tuner.refit!r}: expected True, 'train' or False.")
    if tuner.refit == "train" and (tuner.cv is not None or tuner.n_seeds > 1):
        raise SettingError("refit='train' replays one training, but with cv or n_seeds a trial is several: write True.")
    if tuner.resume and not tuner.study_name:
        raise SettingError("resume=True needs the study_name of the study to go on with.")
    if tuner.study_name is not None and not (isinstance(tuner.study_name, str) and tuner.study_name.strip()):
        raise SettingError(f"study_name={tuner.study_name!r}: expected a text.")
    if tuner.patience is not None and whole("patience", tuner.patience, 1) >= tuner.epochs:
        raise SettingError(
            f"patience={tuner.patience} with epochs={tuner.epochs} ends no trial early: expected fewer epochs of "
            "patience than epochs, or None."
        )
    _callbacks(tuner.callbacks)
    rules, all_of_them = _rules(tuner.optimizer)
    if all_of_them and tuner.n_trials < len(rules):
        raise SettingError(
            f"optimizer='all' with n_trials={tuner.n_trials}: each of {len(rules)} optimizers is tried once "
            f"before the better ones go on. Write n_trials={2 * len(rules)} or more, or name a few optimizers."
        )
    searched = _space(rules, tuner.space, tuner.n_trials, all_of_them)
    if storage.resolve_url(tuner.storage) != "memory":
        policies.check_stored(tuner.sampler)
    return Settings(
        kind,
        searched,
        _start_from(tuner.start_from, searched),
        tuner.start_from if isinstance(tuner.start_from, str) else None,
        policies.check_sampler(tuner.sampler, searched),
        policies.check_pruner(tuner.pruner),
    )


def check_own_loop(
    optimizer: Any, given: Any, *, sampler: Any, pruner: Any, n_trials: Any, epochs: Any, batch_size: Any, steps: Any
) -> Space:
    """The space that trials of a loop of one's own search; raises as `check` does."""
    for name, value in (("n_trials", n_trials), ("epochs", epochs), ("batch_size", batch_size), ("steps", steps)):
        if value is not None or name in ("n_trials", "epochs"):
            whole(name, value, 1)
    rules, all_of_them = _rules(optimizer)
    if all_of_them:
        raise SettingError(
            "optimizer='all' begins with a look at each optimizer, for which loops would have to wait for one another: "
            "name those to choose from, optimizer=['adam', 'sgd']."
        )
    searched = _space(rules, given, n_trials, False)
    policies.check_sampler(sampler, searched)
    policies.check_stored(sampler)
    policies.check_pruner(pruner)
    if (batch_size is None) != (steps is None):
        raise SettingError(f"batch_size={batch_size!r} with steps={steps!r}: give both, or none of the two.")
    if steps is None and (share := _share_of_training(searched)):
        raise SettingError(
            f"space={given!r} has {share!r}, which is a share of the training: give steps=epochs * ceil(n_rows / "
            "batch_size), the number of updates, and batch_size."
        )
    return searched


def _share_of_training(searched: Space) -> str | None:
    """A schedule or hyper of the space that depends on the number of updates; None where nothing does."""
    hypers = {parameter.hyper.name for parameter in searched.free.values()}
    hypers |= {name for part in searched.parts.values() for name in part.fixed}
    names = [name for part in searched.parts.values() for name in part.schedules if schedules.get(name).horizon]
    return next(iter([*names, *({schedules.WARMUP.name} & hypers)]), None)


def _space(rules: list[Rule], given: Any, n_trials: int, all_of_them: bool) -> Space:
    """The space that was asked for; options of the optimizer in it are the same for every trial, and not searched."""
    if not isinstance(given, Mapping):
        return space(rules, given, n_trials, all_of_them=all_of_them)
    options = {option.name: option.check(given[option.name]) for option in gradients.OPTIONS if option.name in given}
    others = {name: value for name, value in given.items() if name not in options}
    return space(rules, others or "auto", n_trials, all_of_them=all_of_them).keeping(options)


def kept_options(model: Any) -> dict[str, Any]:
    """What the optimizer of a compiled model does besides its rule: clipping, averaging, accumulation, loss scaling.

    The user asked for it once; trials do it too. Decay of weights is not kept: it belongs to the rule that is tuned.
    """
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of a LossScaleOptimizer
    kept = {hyper.name: getattr(optimizer, hyper.name, None) for hyper in gradients.CLIPS}
    kept |= {option.name: getattr(optimizer, option.name, option.default) for option in gradients.OPTIONS}
    if not kept["use_ema"]:
        kept = {name: value for name, value in kept.items() if not name.startswith(("ema_", "use_ema"))}
    defaults = {option.name: option.default for option in gradients.OPTIONS}
    return {name: value for name, value in kept.items() if value != defaults.get(name)}


def _present(tuner: Any) -> None:
    from adamtune.plain import Absent  # it loads a backend, which a loop of one's own may not need

    for name, value in tuner.get_params(deep=False).items():
        if isinstance(value, Absent):
            raise SettingError(f"{name} was {value.what}, which {value.why}: set_params({name}=...) before fit.")


def _callbacks(given: Any) -> None:
    for callback in given or ():
        if hasattr(callback, "on_epoch_end"):
            raise SettingError(
                f"callbacks holds {callback!r}, a callback of Keras: trials are not trained by `model.fit`. Expected "
                "functions callback(study, trial), called when a trial has ended; for early stopping write patience=5."
            )
        if not callable(callback):
            raise SettingError(f"callbacks holds {callback!r}: expected functions callback(study, trial).")


def _rules(optimizer: Any) -> tuple[list[Rule], bool]:
    """The optimizers to tune, and whether these are all there are."""
    if isinstance(optimizer, str) and optimizer == "all":
        return [optimizers.get(name) for name in optimizers.names()], True
    named: Sequence[Any] = optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]
    if not named:
        raise SettingError(f"optimizer={optimizer!r}: expected a name, a list of names or 'all'.")
    return [optimizers.get(name) for name in named], False


def _start_from(start_from: Any, searched: Space) -> tuple[OptimizerConfig, ...]:
    if start_from is None or (isinstance(start_from, str) and start_from in ("shipped", "store")):
        return ()
    if isinstance(start_from, str):
        raise SettingError(f"start_from={start_from!r}: expected 'shipped', 'store', None or a list of configs.")
    given = tuple(start_from)
    for config in given:
        if not isinstance(config, OptimizerConfig) or config.optimizer not in searched.parts:
            names = " or ".join(f"OptimizerConfig({name!r}, ...)" for name in searched.parts)
            raise SettingError(f"start_from holds {config!r}: expected {names} only.")
    return given
