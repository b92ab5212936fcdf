"""README.md of what `models.py` measured: a table, and sentences that follow from its numbers."""

from statistics import mean, stdev

HEAD = """\
# Models as people write them: a CNN, an LSTM, a transformer

Does adamtune take ordinary Keras models from their rows to a config, on both backends, and is what it finds better than
Keras' default Adam on rows that nothing has seen?

    ADAMTUNE_DATA=../shared/data python studies/models/models.py
    ADAMTUNE_DATA=../shared/data python studies/models/models.py --models lstm --backends jax --again
    ADAMTUNE_DATA=../shared/data python studies/models/models.py --quick     # few of everything, elsewhere

`ADAMTUNE_DATA` names a folder with a `load.py` whose `load(name)` returns `(X, y, meta)` for "mnist", "imdb" and
"beijing_pm25"; the first `meta["n_train"]` rows are the training part. The networks and budgets stand in
[cases.py](cases.py). adamtune sees the training part only. Then the config it found and Keras' default Adam each train
the same network by `model.fit` on all training rows, for as many epochs and from the same seeds, and are judged once on
the test rows.
"""


def readme(runs, missing):
    """The whole page, for the runs there are; `missing` names those that failed or were not asked for."""
    return (
        "\n".join([HEAD, *setting(runs), "", *table(runs), "", *finals(runs), "", *conclusions(runs, missing)]) + "\n"
    )


def setting(runs):
    """What was trained on what, a line a model."""
    packages = {}
    for run in runs:
        packages |= run["versions"]
    cores = packages.pop("cores")
    lines = [f"Measured on {cores} cores, no GPU; {', '.join(f'{n} {v}' for n, v in packages.items())}.", ""]
    for run in one_a_model(runs):
        judging = f"the last {run['judging_rows']:,} judge" if run["judging_rows"] else "a fifth judges"
        lines.append(
            f"- **{run['model']}**: {run['rows'] + run['judging_rows']:,} training rows ({run['data']}), of which "
            f"{judging}; {run['test_rows']:,} test rows; batches of {run['batch_size']}; trials of up to "
            f"{run['epochs']} epochs, final trainings of {run['epochs']}."
        )
    return lines


def table(runs):
    """How each study went."""
    head = ("model", "backend", "rows", "weights", "strategy", "lanes", "trials", "epochs trained", "seconds")
    head += ("programs", "peak MB", "tuned, test", "default Adam, test", "found")
    right = {"rows", "weights", "lanes", "epochs trained", "seconds", "programs", "peak MB"}
    lines = ["| " + " | ".join(head) + " |", "|" + "".join("---:|" if name in right else "---|" for name in head)]
    for run in runs:
        trials = sum(run["states"].values())
        ends = ", ".join(f"{count} {state}" for state, count in sorted(run["states"].items()))
        cells = (
            run["model"],
            run["backend"],
            f"{run['rows'] + run['judging_rows']:,}",
            f"{run['weights']:,}",
            run["strategy"],
            run["lanes"],
            f"{trials}: {ends}",
            run["epochs_trained"],
            f"{run['tuning_seconds']:.0f}",
            run["programs"],
            f"{run['peak_megabytes']:.0f}",
            spread(scores(run, "tuned"), run["unit"]),
            spread(scores(run, "default"), run["unit"]),
            run["config_in_short"],
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += [
        "",
        "Rows are those of the training part; epochs, those that the trials trained in the search. Seconds are of the "
        "whole tuning: compiling, searching and confirming. Programs are the training programs that were compiled for "
        "it; peak MB is the most resident memory of the process until then, libraries and data included. Test scores "
        "are mean ± deviation over the seeds.",
    ]
    return lines


def finals(runs):
    """Each final training."""
    seeds = sorted({each["seed"] for run in runs for each in run["finals"]})
    lines = [
        "| model | backend | optimizer | " + " | ".join(f"seed {seed}" for seed in seeds) + " | seconds a training |",
        "|---|---|---|" + "---:|" * (len(seeds) + 1),
    ]
    for run in runs:
        for which, label in (("tuned", "tuned by adamtune"), ("default", "Adam, Keras defaults")):
            cells = [f"{score:.2f}" for score in scores(run, which)]
            lines.append(
                f"| {run['model']} | {run['backend']} | {label} | {' | '.join(cells)} | {seconds(run, which):.0f} |"
            )
    return lines


def conclusions(runs, missing):
    """What the numbers say, and no more."""
    sentences = [compared(runs), costs(runs), backends(runs), references(runs)]
    if missing:
        sentences.append(f"Without a result so far: {listed(f'{m} on {b}' for m, b in missing)}.")
    return ["## What it says", "", *(f"- {sentence}" for sentence in sentences if sentence)]


def compared(runs):
    """Who won, by pairs of the same seed: only where every seed agrees is there a winner."""
    groups = {}
    for run in runs:
        groups.setdefault(outcome(run), []).append(f"{run['model']} on {run['backend']}{by_how_much(run)}")
    words = {
        "better": "The tuned config is better than default Adam with every seed for {}.",
        "worse": "Default Adam is better with every seed for {}.",
        "open": "The seeds disagree, so these cannot be told apart: {}.",
        "same": "adamtune kept the defaults for {}.",
    }
    return " ".join(text.format(listed(groups[name])) for name, text in words.items() if name in groups)


def outcome(run):
    """Which of better, worse, open and same the tuned config is."""
    if run["is_default"]:
        return "same"
    won = [gain > 0 for gain in gains(run)]
    return "better" if all(won) else "worse" if not any(gain >= 0 for gain in gains(run)) else "open"


def by_how_much(run):
    """Mean and deviation of the difference, in words."""
    if run["is_default"]:
        return ""
    differences = [t - d for t, d in zip(scores(run, "tuned"), scores(run, "default"), strict=True)]
    unit = run["unit"].replace("% accuracy", "points of accuracy")
    return f" ({mean(differences):+.2f} ± {stdev(differences):.2f} {unit})"


def gains(run):
    """Tuned over default, seed by seed; above zero the tuned config is better."""
    sign = 1 if run["higher_is_better"] else -1
    return [sign * (t - d) for t, d in zip(scores(run, "tuned"), scores(run, "default"), strict=True)]


def costs(runs):
    """What a whole study costs in trainings."""
    trainings = {
        run["model"] + " on " + run["backend"]: run["tuning_seconds"] / seconds(run, "default") for run in runs
    }
    least, most = (pick(trainings, key=trainings.get) for pick in (min, max))
    trials = sorted({sum(run["states"].values()) for run in runs})
    how_many = f"{trials[0]} to {trials[-1]}" if len(trials) > 1 else f"{trials[0]}"
    programs = sorted({run["programs"] for run in runs})
    compiled = f"{programs[0]} to {programs[-1]}" if len(programs) > 1 else f"{programs[0]}"
    between = f"{trainings[least]:.1f} times ({least})"
    if len(trainings) > 1:
        between = f"between {between} and {trainings[most]:.1f} times ({most})"
    return (
        f"A study of {how_many} trials, confirmed, took {between} as long as one final training through `model.fit` "
        f"on all training rows, and compiled {compiled} training program{'s' if programs[-1] > 1 else ''}."
    )


def backends(runs):
    """How long JAX takes beside TensorFlow, where both were measured."""
    took = {(run["model"], run["backend"]): run["tuning_seconds"] for run in runs}
    both = [model for model, backend in took if backend == "jax" and (model, "tensorflow") in took]
    if not both:
        return ""
    found = listed(f"{took[model, 'jax'] / took[model, 'tensorflow']:.1f} for {model}" for model in both)
    return f"Seconds of tuning on JAX over those on TensorFlow: {found} (one run of each)."


def references(runs):
    """What no model at all would score, where that is known, and whether the tuned one is better than that."""
    sentences = []
    for first in one_a_model(runs):
        if first["reference"] is None:
            continue
        same = [run for run in runs if run["model"] == first["model"]]
        tuned = listed(f"{mean(scores(run, 'tuned')):.2f} on {run['backend']}" for run in same)
        sign = 1 if first["higher_is_better"] else -1
        above = [sign * (mean(scores(run, "tuned")) - first["reference"]) > 0 for run in same]
        verdict = "better" if all(above) else "not better" if not any(above) else "better on one backend only"
        sentences.append(
            f"For {first['model']}, the last known value as the forecast scores {first['reference']:.2f} "
            f"{first['unit']}; the tuned network ({tuned}) is {verdict}."
        )
    return " ".join(sentences)


def scores(run, which):
    """Test scores of the final trainings, by seed."""
    found = sorted((each["seed"], each["score"]) for each in run["finals"] if each["config"] == which)
    return [score for _, score in found]


def seconds(run, which):
    """Seconds of a final training, mean over the seeds."""
    return mean(each["seconds"] for each in run["finals"] if each["config"] == which)


def spread(values, unit):
    return f"{mean(values):.2f} ± {stdev(values):.2f} {unit}"


def one_a_model(runs):
    """The first run of each model."""
    return list({run["model"]: run for run in reversed(runs)}.values())[::-1]


def listed(words):
    """ "a", "a and b", "a, b and c"."""
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
