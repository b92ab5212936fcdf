"""Tables and the picture of what `speed.py` measured."""

import math
from statistics import mean, median, stdev

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator
from scipy.stats import t as student


def part(runs, name):
    """Runs of a part by what follows its name, in order: {"0/peer": run, ...}."""
    found = {key.removeprefix(f"{name}/"): run for key, run in runs.items() if key.startswith(f"{name}/")}
    return dict(sorted(found.items(), key=lambda item: (int(item[0].split("/")[0]), item[0])))


def numbers(runs, name):
    """The pairs or seeds of a part of which every arm is measured."""
    found = part(runs, name)
    arms = {key.split("/")[1] for key in found}
    all_of = sorted({int(key.split("/")[0]) for key in found})
    return [n for n in all_of if all(f"{n}/{arm}" in found for arm in arms)]


def gaps(run):
    """Seconds of each trial but the first, which also pays for the start."""
    return [after - before for before, after in zip(run["ended"], run["ended"][1:], strict=False)]


def settings(runs):
    """Median seconds a trial of each setting of the plain loop, over all rounds, and its arguments."""
    found = {}
    for key, run in part(runs, "settings").items():
        found.setdefault(int(key.split("/")[0]), []).append(run)
    return {n: (median(g for run in rounds for g in gaps(run)), rounds[0]["arguments"]) for n, rounds in found.items()}


def fastest(runs):
    """Number of the fastest setting of the plain loop."""
    found = settings(runs)
    if not found:
        raise SystemExit("measure the part 'settings' first: the plain loop runs with its fastest setting.")
    return min(found, key=lambda number: found[number][0])


def best_so_far(run):
    """(seconds, best loss) after each trial that improved it."""
    steps, best = [], math.inf
    for seconds, value in sorted(zip(run["ended"], run["values"], strict=True)):
        if value is not None and value < best:
            best = value
            steps.append((seconds, best))
    return steps


def best(run):
    """The best loss of all trials."""
    return best_so_far(run)[-1][1]


def ratio_with_interval(above, below):
    """Geometric mean of paired ratios with its 95 % interval (Student's t on the logarithms)."""
    logs = [math.log(a / b) for a, b in zip(above, below, strict=True)]
    if len(logs) < 2:
        return math.exp(mean(logs)), math.nan, math.nan
    half = student.ppf(0.975, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    return math.exp(mean(logs)), math.exp(mean(logs) - half), math.exp(mean(logs) + half)


def tables(machine, runs):
    """Everything as Markdown."""
    versions = ", ".join(f"{k} {v}" for k, v in machine.items() if k not in ("cores", "processor"))
    loads = [run["load_before"] for run in runs.values()]
    lines = [
        "<!-- written by speed.py -->",
        "",
        f"Measured on {machine['cores']} cores ({machine['processor']}), no GPU; {versions}. Others used the machine"
        f" too: its load (1 minute) before a measurement was {median(loads):.1f} in the median, {max(loads):.1f} at"
        " most. So ratios within a pair are what counts here, not the seconds.",
    ]
    for title, table, found in (
        ("The plain loop's settings", _settings, part(runs, "settings")),
        ("Speed", _speed, part(runs, "speed")),
        ("Where the time goes", _parts, part(runs, "speed")),
        ("Quality", _quality, part(runs, "quality")),
        ("Time to serial TPE's best loss", _reached, part(runs, "reached")),
    ):
        if found:
            lines += ["", f"## {title}", "", *table(runs)]
    return "\n".join(lines) + "\n"


def headline(runs, goal):
    """The answers in a few lines; no line for what is not measured."""
    lines = []
    if pairs := numbers(runs, "speed"):
        for name, words in (
            ("usual", "as it is usually written"),
            ("speed", "with the settings of Keras that suit it best"),
        ):
            if ratios := _ratios(runs, name):
                lines += [
                    f"- **Speed**: the plain loop {words} took **{median(ratios):.1f} times** as long as adamtune"
                    f" (median of {len(pairs)} pairs, from {min(ratios):.1f} to {max(ratios):.1f}; the goal is {goal})."
                ]
    if seeds := numbers(runs, "quality"):
        middle, low, high = ratio_with_interval(*_best_losses(runs, seeds))
        lines += [
            f"- **Quality**: the best loss in lanes was {middle:.3f} times that of serial TPE (95 % interval {low:.3f}"
            f" to {high:.3f}, {len(seeds)} pairs; the goal is at most 1.05)."
        ]
    return "\n".join(lines) + "\n" if lines else ""


def write(path, text):
    """Put text where the README has a place for it."""
    begin, end = "<!-- results -->\n", "<!-- /results -->\n"
    readme = path.read_text(encoding="utf-8") if path.exists() else begin + end
    before, rest = readme.split(begin)
    path.write_text(before + begin + text + end + rest.split(end)[1], encoding="utf-8")


def _ratios(runs, name="speed"):
    """Seconds of the plain loop by those of adamtune, pair by pair; `name` says with which settings."""
    return [
        runs[f"{name}/{n}/peer"]["seconds"] / runs[f"speed/{n}/adamtune"]["seconds"]
        for n in numbers(runs, "speed")
        if f"{name}/{n}/peer" in runs
    ]


def _best_losses(runs, seeds):
    """Best losses in lanes and of serial TPE, seed by seed."""
    return [[best(runs[f"quality/{n}/{arm}"]) for n in seeds] for arm in ("auto", "serial")]


def _table(heads, rows):
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "|".join("---:" if i else "---" for i in range(len(heads))) + "|"
    for row in rows:
        yield "| " + " | ".join(map(str, row)) + " |"


def _settings(runs):
    chosen = fastest(runs)
    rows = [
        (_setting(arguments) + (" **(fastest: used below)**" if number == chosen else ""), f"{seconds:.2f}")
        for number, (seconds, arguments) in settings(runs).items()
    ]
    yield from _table(["Optuna + Keras", "seconds a trial (median)"], rows)


def _setting(arguments):
    return ", ".join(
        f"`{name}={arguments[name]!r}`" for name in ("steps_per_execution", "jit_compile", "clear_session")
    )


def _speed(runs):
    found = part(runs, "speed")
    pairs = numbers(runs, "speed")
    ours, theirs = ([found[f"{n}/{arm}"] for n in pairs] for arm in ("adamtune", "peer"))
    ratios = _ratios(runs)
    arguments = theirs[0]["arguments"]
    yield (
        f"{arguments['trials']} trials of {arguments['epochs']} epochs each, no pruning, SQLite. adamtune in"
        f" {ours[0]['lanes']} lanes and {ours[0]['programs']} compiled program, judging after every epoch; the plain"
        f" loop with {_setting(arguments)}, judging once at the end. No figure is scaled up from fewer trials."
    )
    yield ""
    rows = [
        (n, f"{a['seconds']:.1f}", f"{b['seconds']:.1f}", f"{r:.1f}", f"{best(a):.4f}", f"{best(b):.4f}")
        for n, a, b, r in zip(pairs, ours, theirs, ratios, strict=True)
    ]
    yield from _table(
        ["pair", "adamtune, s", "plain loop, s", "ratio", "adamtune's best loss", "plain loop's best loss"], rows
    )
    yield ""
    yield f"**Median ratio {median(ratios):.1f}** (from {min(ratios):.1f} to {max(ratios):.1f} in {len(ratios)} pairs)."
    if usual := _ratios(runs, "usual"):
        seconds = ", ".join(f"{run['seconds']:.1f}" for run in part(runs, "usual").values())
        yield (
            f"With Keras' own settings (`steps_per_execution=1`) the plain loop took {seconds} s: **median ratio"
            f" {median(usual):.1f}** (from {min(usual):.1f} to {max(usual):.1f})."
        )
    quarter = max(1, arguments["trials"] // 4)
    parts = slice(quarter), slice(-quarter, None)
    first, last = (median(gap for run in theirs for gap in gaps(run)[where]) for where in parts)
    yield (
        f"The plain loop took {first:.2f} s a trial in the first quarter of its trials and {last:.2f} s in the last"
        f" (medians). Peak memory: adamtune {median(run['peak_megabytes'] for run in ours):.0f} MB, plain loop"
        f" {median(run['peak_megabytes'] for run in theirs):.0f} MB. The plain loop draws new initial weights for every"
        " trial, so its best trial also has the luckiest of many: the losses of this table are no comparison of"
        " quality, that is the part below."
    )


def _parts(runs):
    found = part(runs, "speed")
    pairs = numbers(runs, "speed")
    for arm, title in (("adamtune", "adamtune"), ("peer", "plain loop")):
        of_arm = [found[f"{n}/{arm}"] for n in pairs]
        names = {name for run in of_arm for name in run["parts"]}
        seconds = {name: median(run["parts"].get(name, 0.0) for run in of_arm) for name in names}
        total = median(run["seconds"] for run in of_arm)
        seconds["everything else"] = max(0.0, total - sum(seconds.values()))
        rows = [
            (name, f"{s:.2f}", f"{s / total:.0%}") for name, s in sorted(seconds.items(), key=lambda item: -item[1])
        ]
        yield from _table([title, "seconds (median)", "share"], rows)
        if arm == "adamtune":
            tick = median(run["seconds_a_tick"] for run in of_arm)
            yield ""
            yield (
                f"One tick (an epoch of {of_arm[0]['lanes']} lanes, judged) takes {1000 * tick:.0f} ms; a study has"
                f" {of_arm[0]['ticks']}."
            )
        yield ""


def _quality(runs):
    found = part(runs, "quality")
    seeds = numbers(runs, "quality")
    auto, serial = ([found[f"{n}/{arm}"] for n in seeds] for arm in ("auto", "serial"))
    yield (
        f"Best validation loss of {auto[0]['arguments']['trials']} trials, no pruning: {auto[0]['lanes']} lanes"
        " (automatic) beside `lanes=1`, which is TPE told each value before it suggests the next, as Optuna alone runs."
        " Both arms have adamtune's engine, the same rows, initial weights, sampler and first trial. The best of many"
        " trials is partly luck, so the best config of each arm was also trained three times more under fresh weights"
        " and order (the same for both arms): its mean loss is `again`."
    )
    yield ""
    again = all(run["confirmed"] is not None and math.isfinite(run["confirmed"]) for run in auto + serial)
    rows = [
        (
            n,
            f"{best(a):.4f}",
            f"{best(b):.4f}",
            f"{best(a) / best(b):.3f}",
            *(
                (f"{a['confirmed']:.4f}", f"{b['confirmed']:.4f}", f"{a['confirmed'] / b['confirmed']:.3f}")
                if again
                else ()
            ),
        )
        for n, a, b in zip(seeds, auto, serial, strict=True)
    ]
    heads = ["seed", "lanes", "serial", "ratio"] + (["lanes, again", "serial, again", "ratio"] if again else [])
    yield from _table(heads, rows)
    yield ""
    yield "Best trial: " + _interval(*_best_losses(runs, seeds))
    if again:
        yield ""
        yield "Trained again: " + _interval([r["confirmed"] for r in auto], [r["confirmed"] for r in serial])


def _interval(above, below):
    middle, low, high = ratio_with_interval(above, below)
    return (
        f"ratio lanes / serial {middle:.3f}, 95 % interval {low:.3f} to {high:.3f}"
        f" ({len(above)} pairs, geometric mean)."
    )


def _reached(runs):
    seeds = [n for n in numbers(runs, "reached") if f"quality/{n}/serial" in runs]
    serial = {n: runs[f"quality/{n}/serial"] for n in seeds}
    longer = {n: runs[f"reached/{n}/long"] for n in seeds}
    pairs = [run for key, run in part(runs, "speed").items() if key.endswith("/peer")]
    if not pairs:
        yield "The part `speed` is not measured yet, so there is no time of the plain loop to compare with."
        return
    each = median(run["seconds"] / run["arguments"]["trials"] for run in pairs)
    trials, longest = (arm[seeds[0]]["arguments"]["trials"] for arm in (serial, longer))
    yield (
        f"How long adamtune needs to reach the loss that serial TPE has after all its {trials} trials. The loss is"
        " measured with `lanes=1` (the same initial weights, which a comparison of losses needs), the time is the plain"
        f" loop's: {trials} trials at {each:.2f} s, the median of part speed. adamtune may use up to {longest} trials"
        f" (then it takes {longer[seeds[0]]['lanes']} lanes); its seconds count from the start, compiling"
        " included."
    )
    yield ""
    rows, ratios = [], []
    for n in seeds:
        target, run = best(serial[n]), longer[n]
        when = [seconds for seconds, loss in best_so_far(run) if loss <= target]
        ratios += [each * trials / when[0]] if when else []
        after = sum(ended <= when[0] for ended in run["ended"]) if when else None
        rows.append(
            (
                n,
                f"{target:.4f}",
                f"{when[0]:.1f}" if when else f"not in {run['ended'][-1]:.1f}",
                after or "–",
                f"{each * trials:.0f}",
                f"{ratios[-1]:.1f}" if when else "–",
            )
        )
    yield from _table(["seed", "loss", "adamtune, s", "trials", "plain loop, s", "ratio"], rows)
    yield ""
    said = f"Reached for {len(ratios)} of {len(seeds)} seeds"
    yield said + (f"; where reached, the median ratio is {median(ratios):.1f}." if ratios else ".")


_OURS, _THEIRS = "#0072b2", "#d55e00"


def plot(runs, path):
    """Best loss against seconds for the pairs, and what a study's seconds are spent on."""
    found = part(runs, "speed")
    pairs = numbers(runs, "speed")
    if not pairs:
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), width_ratios=[3, 2], layout="constrained")
    for arm, colour, label in (("peer", _THEIRS, "Optuna + Keras, the plain loop"), ("adamtune", _OURS, "adamtune")):
        for n in pairs:
            run = found[f"{n}/{arm}"]
            seconds, losses = zip(*best_so_far(run), strict=True)
            seconds, losses = (*seconds, run["seconds"]), (*losses, losses[-1])
            left.step(
                seconds, losses, where="post", color=colour, lw=1.3, alpha=0.8, label=label if n == pairs[0] else None
            )
            left.plot(seconds[-1], losses[-1], "o", color=colour, ms=4)
    left.set(xscale="log", yscale="log", xlabel="seconds since the start", ylabel="best validation loss")
    left.set_title(f"{found[f'{pairs[0]}/peer']['arguments']['trials']} trials each, {len(pairs)} pairs", loc="left")
    left.set_ylim(top=1.5 * left.get_ylim()[1])  # room for the legend
    left.legend(frameon=False, loc="upper right")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter("{x:g}")
    left.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    left.xaxis.set_minor_formatter("")
    of_arm = [found[f"{n}/adamtune"] for n in pairs]
    names = {name for run in of_arm for name in run["parts"]}
    seconds = {name: median(run["parts"].get(name, 0.0) for run in of_arm) for name in names}
    seconds["everything else"] = max(0.0, median(run["seconds"] for run in of_arm) - sum(seconds.values()))
    ordered = sorted(seconds.items(), key=lambda item: item[1])
    right.barh([name for name, _ in ordered], [s for _, s in ordered], color=_OURS)
    right.set(xlabel="seconds (median)")
    right.set_title("where adamtune's seconds go", loc="left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
