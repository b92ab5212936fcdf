"""The tables of what `speed.py` measured, as Markdown."""

import math
from statistics import median

from reading import (
    AGAINST,
    NAMES,
    best,
    best_so_far,
    gaps,
    in_training,
    pace,
    paired,
    pairs,
    ratio_with_interval,
    ratios,
    shares,
    slope,
    table,
    trials_of,
    under,
    workloads,
)

_DASH = "–"


def tables(machine, runs):
    """Everything as Markdown."""
    versions = ", ".join(f"{name} {said}" for name, said in machine.items() if name not in ("cores", "processor"))
    loads = [run["load_before"] for run in runs.values()] or [math.nan]
    lines = [
        "<!-- written by speed.py -->",
        "",
        f"Measured on {machine['cores']} cores ({machine['processor']}); {versions}. The machine's load (1 minute)"
        f" before a measurement was {median(loads):.1f} in the median, {max(loads):.1f} at most: what counts are the"
        " ratios within a pair, not the seconds.",
    ]
    for title, write_table, part in (
        ("Times as long as adamtune", _ratios, "speed"),
        ("Workload by workload", _details, "speed"),
        ("Where the time goes", _shares, "speed"),
        ("Memory and time over a study", _course, "speed"),
        ("The limit", _limit, "speed/digits"),
        ("Lanes and trials", _scaling, "lanes"),
        ("Quality", _quality, "quality"),
        ("Time to the loss of serial TPE", _reached, "reached"),
        ("Pruned", _pruned, "pruned"),
        ("The plain loop's settings", _settings, "settings"),
    ):
        if under(runs, part) and (found := list(write_table(runs))):
            lines += ["", f"## {title}", "", *found]
    return "\n".join(lines) + "\n"


def headline(runs):
    """The answers in a few lines; no line for what is not measured."""
    lines = []
    for name in workloads(runs):
        for arm in ("optuna", "halving"):
            found, scaled = ratios(runs, name, arm)
            if found:
                ours = under(runs, "speed", name)[f"{pairs(runs, name)[0]}/{AGAINST[arm]}"]
                lines.append(
                    f"- **{ours['title']}**, {ours['arguments']['trials']} trials: {NAMES[arm]} took"
                    f" **{median(found):.1f} times** as long as {NAMES[AGAINST[arm]]} ({_spread(found)}"
                    f"{', scaled up from fewer trials' if scaled else ''})."
                )
    seeds, found = paired(runs, "quality", "auto", "1")
    if seeds:
        above, below = ([best(run) for run in arm] for arm in found)
        lines.append(
            f"- **Quality**: the best loss in automatic lanes by that of serial TPE: {_interval(above, below)}."
        )
    for epochs in _budgets(runs):
        pruned, full = paired(runs, "pruned", f"asha-{epochs}", f"none-{epochs}")[1]
        lines.append(
            f"- **Pruned**, {epochs} epochs a trial: the loss of the config found with ASHA, trained again, by that"
            f" without: {_interval(_again(pruned), _again(full))}, for {median(_spent(pruned, full)):.0%} of the"
            " epochs."
        )
    return "\n".join(lines) + "\n" if lines else ""


def _spread(values):
    many = f"{len(values)} pair{'s' if len(values) > 1 else ''}"
    return f"{min(values):.1f} to {max(values):.1f} in {many}"


def _interval(above, below):
    middle, low, high = ratio_with_interval(above, below)
    return f"{middle:.3f}, 95 % interval {low:.3f} to {high:.3f} ({len(above)} pairs, geometric mean)"


# ---------------------------------------------------------------------------------------------------- speed


def _ratios(runs):
    yield (
        "Seconds of each by those of adamtune in the same pair, median (smallest to largest): of adamtune sampling at"
        " random and training every trial to its end; with successive halving, of adamtune with ASHA. Below 1 it is"
        " faster than that. A * is scaled up: the peer ran the trials of `digits`, and its median seconds a trial after"
        " the first (the mean where it prunes) stand for every one of the many."
    )
    yield ""
    columns = workloads(runs)
    rows = []
    for arm in AGAINST:
        cells = [ratios(runs, name, arm) for name in columns]
        if any(found for found, _ in cells):
            shown = [
                f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f}){'*' if scaled else ''}" if found else _DASH
                for found, scaled in cells
            ]
            rows.append((NAMES[arm], *shown))
    heads = [f"{name.removesuffix('-1000')}, {trials_of(runs, name)} trials" for name in columns]
    yield from table(["", *heads], rows)
    failed = {}
    for key, run in runs.items():
        if key.startswith("speed/") and "failed" in run:
            _, workload, _, arm = key.split("/")
            failed.setdefault((NAMES[arm], run["failed"]), set()).add(workload)
    for (arm, reason), where in failed.items():
        yield f"\n{arm} did not run on {', '.join(sorted(where))}: `{reason}`"


def _details(runs):
    for name in workloads(runs):
        found = under(runs, "speed", name)
        first = next(iter(found.values()))
        trials = trials_of(runs, name)
        yield (
            f"**{first['title']}** ({first['data']}): {trials} trials of {first['epochs']} epochs, {first['rows']} rows"
            f" train in batches of {first['batch_size']}, {first['judging_rows']} judge."
        )
        yield ""
        rows = []
        for arm in NAMES:
            of_arm = [run for key, run in found.items() if key.split("/")[1] == arm]
            if of_arm:
                lanes = {run["lanes"] for run in of_arm if "lanes" in run}
                each = [gap for run in of_arm for gap in gaps(run)] if not lanes else []
                rows.append(
                    (
                        NAMES[arm] + "".join(f", {number} lanes" for number in lanes),
                        f"{median(run['seconds'] for run in of_arm):.1f}",
                        f"{median(each):.2f}" if each else f"{median(r['seconds'] for r in of_arm) / trials:.3f}",
                        f"{median(run['epochs_trained'] for run in of_arm):.0f}",
                        f"{median(run['peak_mebibytes'] for run in of_arm):.0f}",
                    )
                )
        yield from table(["", "seconds", "seconds a trial", "epochs trained", "peak MiB"], rows)
        yield ""
    yield (
        "Seconds a trial: of peers the median of all trials but the first, of adamtune all seconds by all trials. All"
        " but the two loops of Optuna without pruning judge after every epoch, or (scikit-learn's search) by predicting"
        " once; they judge once, at the end."
    )


def _shares(runs):
    for name, arm in (("digits", "engine"), ("digits-1000", "engine"), ("digits-1000", "whole"), ("digits", "optuna")):
        found = [run for key, run in under(runs, "speed", name).items() if key.endswith(f"/{arm}")]
        if not found:
            continue
        trials, total = trials_of(runs, name), median(run["seconds"] for run in found)
        rows = [(part, f"{s:.2f}", f"{s / total:.0%}") for part, s in shares(found).items()]
        yield from table([f"{NAMES[arm]}, {trials} trials", "seconds (median)", "share"], rows)
        yield ""
        said = f"{median(run['commits'] for run in found) / trials:.1f} commits a trial."
        if "seconds_a_tick" in found[0]:
            tick = 1000 * median(run["seconds_a_tick"] for run in found)
            said += (
                f" An epoch of {found[0]['lanes']} lanes, judged, takes {tick:.0f} ms; there are {found[0]['ticks']}."
            )
        yield said
        yield ""


def _course(runs):
    yield (
        "Growth of the resident memory, by least squares over what was held after each trial (adamtune: after each"
        " epoch of its lanes), from a tenth of the study on. Pace: seconds a trial in the last tenth by those in the"
        " second tenth."
    )
    yield ""
    rows = []
    for name in ("digits-1000", "digits"):
        for arm in NAMES:
            found = [run for key, run in under(runs, "speed", name).items() if key.endswith(f"/{arm}")]
            if not found or (name == "digits" and "lanes" in found[0]):
                continue
            trials = trials_of(runs, name)
            growth = median(slope(run, trials // 10) for run in found)
            steady = _DASH if arm in ("asha", "halving") else _or_dash(median(map(pace, found)), 2)
            disk = median(run.get("database_kibibytes", math.nan) for run in found) / trials
            rows.append((NAMES[arm], trials, _or_dash(growth, 3), steady, _or_dash(disk, 1)))
    yield from table(["", "trials", "MiB a trial", "pace, end by start", "KiB a trial on disk"], rows)


def _or_dash(value, digits):
    return _DASH if math.isnan(value) else f"{value:.{digits}f}"


def _limit(runs):
    rows = []
    for name in ("digits", "digits-1000"):
        found = under(runs, "speed", name)
        for pair in pairs(runs, name):
            bare, ours = found.get(f"{pair}/bare"), found.get(f"{pair}/engine")
            if bare and ours:
                rows.append(
                    (
                        f"{trials_of(runs, name)} trials, pair {pair}",
                        f"{bare['seconds']:.2f}",
                        f"{bare['compiling']:.2f}",
                        f"{1000 * bare['seconds_a_tick'] / bare['lanes']:.2f}",
                        f"{ours['seconds']:.2f}",
                        f"{1000 * ours['seconds_a_tick'] / ours['lanes']:.2f}",
                        f"{ours['seconds'] / bare['seconds']:.2f}",
                        f"{_trained(ours) / _trained(bare):.2f}",
                    )
                )
    if rows:
        yield "The same trials by a program written for them in JAX, and what adamtune takes beside it."
        yield ""
        heads = ["by hand, s", "of it compiling", "ms an epoch of a lane", "adamtune, s", "ms an epoch of a lane"]
        yield from table(["", *heads, "ratio", "ratio, compiling apart"], rows)


def _trained(run):
    """Seconds but for compiling."""
    return run["seconds"] - (run["compiling"] if "compiling" in run else run["parts"]["compiling the program"])


def _scaling(runs):
    for part, what in (("lanes", "lanes"), ("growth", "trials")):
        rows = []
        for number in sorted({int(key.split("/")[0]) for key in under(runs, part)}):
            found = list(under(runs, part, str(number)).values())
            trials = found[0]["arguments"]["trials"]
            rows.append(
                (
                    number,
                    f"{median(trials / run['seconds'] for run in found):.1f}",
                    f"{median(in_training(run) for run in found):.1f}",
                    found[0]["lanes"],
                    f"{median(run['peak_mebibytes'] for run in found):.0f}",
                )
            )
        if rows:
            yield from table([what, "trials a second", "in training alone", "lanes", "peak MiB"], rows)
            yield ""
    yield "Digits, sampled at random; the first count everything, the second only the median epoch, full lanes."


# -------------------------------------------------------------------------------------------------- quality


def _quality(runs):
    found = under(runs, "quality")
    arms = sorted(
        {key.split("/")[1] for key in found}, key=lambda arm: (arm.isdigit(), int(arm) if arm.isdigit() else 0)
    )
    first = next(iter(found.values()))
    yield (
        f"Best validation loss of {first['arguments']['trials']} trials on digits, TPE, no pruning, by the number of"
        " lanes; one lane is TPE told each value before it suggests the next, as Optuna alone runs. All have the same"
        " rows, initial weights, sampler and first trial. The best of many trials is partly luck, so each arm's best"
        " config was also trained three times more under fresh weights and order (the same for all): `again`."
    )
    yield ""
    rows = []
    for arm in arms:
        seeds, (ours, serial) = paired(runs, "quality", arm, "1")
        if not seeds:
            continue
        again = [(a["confirmed"], b["confirmed"]) for a, b in zip(ours, serial, strict=True)]
        again = [pair for pair in again if all(value and math.isfinite(value) for value in pair)]
        rows.append(
            (
                f"{arm} lanes" + (f" ({ours[0]['lanes']})" if arm == "auto" else ""),
                f"{median(map(best, ours)):.4f}",
                _DASH if arm == "1" else _interval([*map(best, ours)], [*map(best, serial)]),
                f"{median(value for value, _ in again):.4f}" if again else _DASH,
                _DASH if arm == "1" or not again else _interval(*zip(*again, strict=True)),
            )
        )
    yield from table(["", "best loss (median)", "by that of 1 lane", "again (median)", "by that of 1 lane"], rows)


def _reached(runs):
    seeds = [n for n in paired(runs, "reached", "long")[0] if f"quality/{n}/1" in runs]
    each = [gap for key, run in under(runs, "speed", "digits").items() if key.endswith("/optuna") for gap in gaps(run)]
    if not seeds or not each:
        return
    trials = runs[f"quality/{seeds[0]}/1"]["arguments"]["trials"]
    longest = runs[f"reached/{seeds[0]}/long"]["arguments"]["trials"]
    theirs = trials * median(each)
    yield (
        f"How long adamtune needs for the loss that TPE, one trial after the other, has after {trials}: the loss"
        f" is that of one lane (part quality), the time that of Optuna + `model.fit` at its best, {trials} times"
        f" {median(each):.2f} s. adamtune may use {longest} trials; its seconds count from the start."
    )
    yield ""
    rows, found = [], []
    for n in seeds:
        target, run = best(runs[f"quality/{n}/1"]), runs[f"reached/{n}/long"]
        when = next((when for when, loss in best_so_far(run) if loss <= target), None)
        found += [theirs / when] if when else []
        after = sum(ended <= when for ended in run["ended"]) if when else _DASH
        told = (
            (f"{when:.1f}", after, f"{theirs / when:.1f}") if when else (f"not in {run['ended'][-1]:.1f}", _DASH, _DASH)
        )
        rows.append((n, f"{target:.4f}", *told))
    yield from table(["seed", "loss", "adamtune, s", "trials", "times as long"], rows)
    yield ""
    yield f"Reached for {len(found)} of {len(seeds)} seeds" + (f", median ratio {median(found):.1f}." if found else ".")


def _pruned(runs):
    budgets = _budgets(runs)
    if not budgets:
        return
    yield (
        "64 trials of TPE on digits with ASHA by the same without pruning, seed by seed. `again` is what a user reads"
        " as `best_score_`: the three best configs of a study are trained again under fresh weights and order, and the"
        " best of these three counts. The smallest loss among single runs is also the luckiest of them, and whoever"
        " trains all 64 to the end draws more often."
    )
    yield ""
    rows = []
    for epochs in budgets:
        seeds, (pruned, full) = paired(runs, "pruned", f"asha-{epochs}", f"none-{epochs}")
        spent = _spent(pruned, full)
        faster = [b["seconds"] / a["seconds"] for a, b in zip(pruned, full, strict=True)]
        rows.append(
            (
                epochs,
                len(seeds),
                f"{median(spent):.2f} ({min(spent):.2f}–{max(spent):.2f})",
                _interval(_again(pruned), _again(full)),
                _interval([*map(best, pruned)], [*map(best, full)]),
                f"{median(faster):.2f} ({min(faster):.2f}–{max(faster):.2f})",
            )
        )
    heads = [
        "epochs a trial",
        "seeds",
        "share of the epochs",
        "loss, again",
        "smallest loss of a single run",
        "times as fast",
    ]
    yield from table(heads, rows)


def _budgets(runs):
    """Epochs a trial of which both arms of the part `pruned` are measured."""
    found = sorted({int(key.rsplit("-", 1)[1]) for key in under(runs, "pruned")})
    return [epochs for epochs in found if paired(runs, "pruned", f"asha-{epochs}", f"none-{epochs}")[0]]


def _again(found):
    return [run["confirmed"] for run in found]


def _spent(pruned, full):
    return [a["epochs_trained"] / b["epochs_trained"] for a, b in zip(pruned, full, strict=True)]


def _settings(runs):
    rows = {}
    for key, run in under(runs, "settings").items():
        rows.setdefault(int(key.split("/")[0]), []).append(run)
    shown = {
        ", ".join(
            f"`{name}={rounds[0]['arguments'][name]!r}`"
            for name in ("steps_per_execution", "jit_compile", "clear_session")
        ): median(gap for run in rounds for gap in gaps(run))
        for rounds in rows.values()
    }
    ordered = sorted(shown.items(), key=lambda item: item[1])
    yield from table(["Optuna + `model.fit`", "seconds a trial (median)"], [(s, f"{each:.2f}") for s, each in ordered])
