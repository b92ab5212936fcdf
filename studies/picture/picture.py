"""Draw the README's picture: one study of 64 Adam trials on scikit-learn's digits.

python studies/picture/picture.py        # writes docs/study.png
"""

import pathlib

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from optuna.trial import TrialState
from sklearn.datasets import load_digits

from adamtune import AdamTunerClassifier
from adamtune.tuning import records

OUT = pathlib.Path(__file__).parents[2] / "docs" / "study.png"
COLORS = {"complete": "#1b7837", "pruned": "#9aa5b1", "diverged": "#c0392b"}


def study(n_trials=64, epochs=20):
    X, y = load_digits(return_X_y=True)
    settings = {"n_trials": n_trials, "epochs": epochs, "storage": "memory", "random_state": 0}
    return AdamTunerClassifier(**settings, refit=False, verbose=0).fit(X / 16, y)


def draw(tuner):
    trials = [t for t in tuner.study_.get_trials() if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    state = ["diverged" if records.diverged(t) else t.state.name.lower() for t in trials]
    rates = np.array([records.config_of(t).learning_rate for t in trials])
    last = np.array([records.value_of(t) for t in trials])
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")

    for name, color in COLORS.items():
        chosen = np.array([s == name for s in state])
        if chosen.any():
            left.scatter(rates[chosen], last[chosen], s=22, color=color, label=f"{chosen.sum()} {name}", alpha=0.85)
    best = tuner.best_trial_.number
    left.scatter([rates[best]], [last[best]], s=110, facecolors="none", edgecolors="black", label="winner")
    left.set(xscale="log", yscale="log", xlabel="learning rate", ylabel="validation loss, last epoch trained")
    left.legend(frameon=False, fontsize=8)

    for trial, name in zip(trials, state, strict=True):
        steps = sorted(trial.intermediate_values)
        values = [trial.intermediate_values[step] for step in steps]
        middle.plot(steps, values, color=COLORS[name], lw=0.9, alpha=0.7, marker="." if len(steps) == 1 else None)
    middle.set(yscale="log", xlabel="epoch of the trial", ylabel="validation loss")
    middle.set_title("each trial's curve; pruned at epochs 1, 3, 9", fontsize=9)

    full = [v if s == "complete" else np.inf for v, s in zip(last, state, strict=True)]
    right.step(np.arange(1, len(full) + 1), np.minimum.accumulate(full), where="post", color=COLORS["complete"])
    right.set(xlabel="trials", ylabel="best validation loss so far")
    right.set_title(f"{sum(t.user_attrs['epochs'] for t in trials)} epochs for {len(trials)} trials", fontsize=9)
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    OUT.parent.mkdir(exist_ok=True)
    draw(study()).savefig(OUT, dpi=110)
    print(f"wrote {OUT.name}")
