"""What the results say: which runs there are, and the few numbers that tables and pictures are made of."""

import math
from statistics import mean, median, stdev

from scipy.stats import t as student

NAMES = {
    "engine": "adamtune, sampling at random",
    "whole": "adamtune, TPE",
    "optuna": "Optuna + `model.fit`, at its best",
    "usual": "Optuna + `model.fit`, as usually written",
    "kerastuner": "KerasTuner, RandomSearch",
    "scikeras": "scikeras in RandomizedSearchCV",
    "wrapper": "keras.wrappers in RandomizedSearchCV",
    "asha": "adamtune, random, pruned by ASHA",
    "halving": "Optuna + `model.fit`, successive halving",
    "bare": "JAX by hand, no sampler, no SQL",
}
# What each arm is compared with: its seconds by those of ours.
AGAINST = {arm: "asha" if arm == "halving" else "engine" for arm in NAMES if arm not in ("engine", "asha")}


def under(runs, *parts):
    """The runs below a name that did not fail, by what follows it: {"0/optuna": run, ...}."""
    start = "/".join(parts) + "/"
    return {key.removeprefix(start): run for key, run in runs.items() if key.startswith(start) and "failed" not in run}


def paired(runs, part, *arms):
    """Seeds or pairs of which all these arms are measured, in order, and their runs arm by arm."""
    found = under(runs, part)
    numbers = sorted({int(key.split("/")[0]) for key in found})
    numbers = [n for n in numbers if all(f"{n}/{arm}" in found for arm in arms)]
    return numbers, [[found[f"{n}/{arm}"] for n in numbers] for arm in arms]


def gaps(run):
    """Seconds of each trial but the first, which also pays for the start."""
    return [after - before for before, after in zip(run["ended"], run["ended"][1:], strict=False)]


def seconds(runs, workload, pair, arm):
    """(seconds of a study, whether scaled up from fewer trials); (None, False) when not measured.

    Where a peer did not run the 1,000 trials: its median gap after the first of the 64, times the trials. Pruned
    trials differ in length, so there it is the mean.
    """
    run = under(runs, "speed", workload).get(f"{pair}/{arm}")
    if run:
        return run["seconds"], False
    whole = under(runs, "speed", "digits-1000").get(f"{pair}/engine")
    few = under(runs, "speed", "digits").get(f"{pair}/{arm}")
    if workload != "digits-1000" or not whole or not few or arm in ("engine", "whole", "asha", "bare") or not gaps(few):
        return None, False
    middle = mean if arm == "halving" else median
    return middle(gaps(few)) * whole["arguments"]["trials"], True


def ratios(runs, workload, arm):
    """(an arm's seconds by those of ours, pair by pair; whether scaled up from fewer trials)."""
    found = []
    for pair in sorted({int(key.split("/")[0]) for key in under(runs, "speed", workload)}):
        (theirs, scaled), (ours, _) = (seconds(runs, workload, pair, each) for each in (arm, AGAINST[arm]))
        if theirs and ours:
            found.append((theirs / ours, scaled))
    return [ratio for ratio, _ in found], any(scaled for _, scaled in found)


def workloads(runs):
    """The workloads of the part speed that have results, in the order of their first arguments."""
    order = ["digits", "digits-1000", "cnn", "lstm", "wide", "transformer"]
    return [name for name in order if under(runs, "speed", name)]


def best_so_far(run):
    """(seconds, best loss) after each trial that improved it."""
    steps, best = [], math.inf
    for when, value in sorted(zip(run["ended"], run["values"], strict=True)):
        if value is not None and value < best:
            best = value
            steps.append((when, best))
    return steps


def best(run):
    """The best loss of all trials."""
    return best_so_far(run)[-1][1]


def shares(found):
    """Median seconds of each part of the work, what is left over among them, and then what went on beside training."""
    names = {name for run in found for name in run["parts"]}
    parts = {name: median(run["parts"].get(name, 0.0) for run in found) for name in names}
    beside = {name for name in names if name.endswith("while lanes train")}
    in_turn = sum(seconds for name, seconds in parts.items() if name not in beside)
    parts["everything else"] = max(0.0, median(run["seconds"] for run in found) - in_turn)
    return dict(sorted(parts.items(), key=lambda item: (item[0] in beside, -item[1])))


def ratio_with_interval(above, below):
    """Geometric mean of paired ratios with its 95 % interval (Student's t on the logarithms)."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    if len(logs) < 2:
        return math.exp(mean(logs)), math.nan, math.nan
    half = student.ppf(0.975, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean(logs)), math.exp(mean(logs) - half), math.exp(mean(logs) + half)


def table(heads, rows):
    """Lines of a Markdown table, the first column of words, the others of numbers."""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "|".join("---:" if i else "---" for i in range(len(heads))) + "|"
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def slope(run, after):
    """MiB a trial: least squares over the marks after so many trials; NaN with fewer than three."""
    marks = [(sum(end <= when for end in run["ended"]), held) for when, held in zip(*run["mebibytes"], strict=True)]
    marks = [(done, held) for done, held in marks if done >= after]
    if len({done for done, _ in marks}) < 3:
        return math.nan
    middle, level = mean(done for done, _ in marks), mean(held for _, held in marks)
    return sum((d - middle) * (h - level) for d, h in marks) / sum((d - middle) ** 2 for d, _ in marks)


def pace(run):
    """Seconds a trial in the last tenth of a study by those in the second tenth; NaN where that is too short.

    In lanes it is the time from tick to tick, which is what a trial takes while lanes are full, over whole trials, and
    without the last trials, at whose time lanes empty.
    """
    whole = run["epochs"] if "lanes" in run else 1
    marks, tenth = run["mebibytes"][0], len(run["mebibytes"][0]) // 10
    end, span = len(marks) - 1 - (whole if whole > 1 else 0), tenth - tenth % whole
    if not span:
        return math.nan
    return (marks[end] - marks[end - span]) / (marks[tenth + span] - marks[tenth])


def in_training(run):
    """Trials a second while all lanes train: no compiling, sampling or SQL."""
    return run["lanes"] / (run["epochs"] * run["seconds_a_tick"])


def pairs(runs, workload):
    return sorted({int(key.split("/")[0]) for key in under(runs, "speed", workload)})


def trials_of(runs, name):
    return next(iter(under(runs, "speed", name).values()))["arguments"]["trials"]
