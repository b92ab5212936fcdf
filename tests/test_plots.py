import base64
import io
import json
import logging
import math
import pickle
import subprocess
import sys

import numpy as np
import optuna
import pytest

from adamtune import optimizers, plots
from adamtune.config import OptimizerConfig
from adamtune.errors import SettingError, StudyError
from adamtune.plots import _importance, _time_to_target, compact
from adamtune.plots.drawing import edge
from adamtune.plots.reading import read
from adamtune.tuning import curves, records
from adamtune.tuning.curves import Curve
from adamtune.tuning.space import space
from adamtune.tuning.storage import close, open_storage

KINDS = ["history", "contour", "importance", "curves", "time_to_target"]
BOTH = pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
TWO = {"learning_rate": (1e-4, 1e-1), "beta_1": (0.5, 0.99)}
STATES = {"finished": "COMPLETE", "diverged": "COMPLETE", "pruned": "PRUNED"}
EPOCHS = 4


class Made:
    """A study written by hand: `add` takes what a trial did."""

    def __init__(self, names=("adam",), wanted=TWO, direction="minimize", storage=None, name="demo/1", **stamp):
        self.space = space([optimizers.get(each) for each in names], wanted, 64)
        self.study = optuna.create_study(study_name=name, direction=direction, storage=storage)
        told = {
            "fingerprint": "f",
            "task": "binary-100x4",
            "optimizer": "+".join(names),
            "space": self.space.to_json(),
            "objective": "val_loss",
            "epochs": EPOCHS,
            "batch_size": 32,
            "steps": 30,
            "seed": 0,
            "lanes": 8,
            "strategy": "stacked",
            "device": "CPU",
            "backend": "tensorflow",
            "sampler": "tpe",
            "pruner": "asha",
            "version": "0.1.0",
        }
        records.write_stamp(self.study, records.Stamp(**(told | stamp)))

    def add(self, value, how="finished", optimizer="adam", epochs=EPOCHS, curve=None, attrs=(), **hypers):
        config = OptimizerConfig(optimizer, **hypers)
        params = self.space.params(config)
        trial = optuna.create_trial(
            state=getattr(optuna.trial.TrialState, STATES[how]),
            value=value,
            params=params,
            distributions={name: self.space.distributions[name] for name in params},
            user_attrs={
                "config": config.to_json(),
                "epochs": epochs,
                "diverged": int(how == "diverged"),
                **dict(attrs),
            },
            intermediate_values={epochs: value} if how == "pruned" else {},
        )
        self.study.add_trial(trial)
        if curve is not None:
            number = len(self.study.get_trials(deepcopy=False)) - 1
            curves.write(self.study, {number: curve if isinstance(curve, Curve) else Curve(curve, curve)})
        return self


def bowl(rate, beta):
    """A loss that is least at 0.01 and 0.9, and depends more on the rate."""
    return 0.1 + (math.log10(rate) + 2) ** 2 + 0.1 * (math.log10(1 - beta) + 1) ** 2


def searched(n=40, **made):
    """A study with trials of every kind, spread evenly over the space; the first is the default."""
    found = Made(**made)
    found.add(0.9, curve=[2.0, 1.5, 1.0, 0.9])
    chance = np.random.default_rng(0)
    for number in range(1, n):
        rate, beta = 10 ** chance.uniform(-4, -1), 1 - 10 ** chance.uniform(-2, math.log10(0.5))
        loss = bowl(rate, beta)
        hypers = {"learning_rate": rate, "beta_1": beta}
        if rate > 0.07:
            found.add(99.0, "diverged", epochs=1, curve=[float("nan")], **hypers)
        elif number % 3:
            found.add(loss + 1, "pruned", epochs=1, curve=[loss + 1], **hypers)
        else:
            found.add(loss, curve=loss + np.array([1.0, 0.5, 0.2, 0.0]), **hypers)
    return found.study


@pytest.fixture(scope="module")
def study():
    return searched()


@pytest.fixture
def small_forest(monkeypatch):
    """For what does not ask what the shares are."""
    monkeypatch.setattr(_importance, "_TREES", 2)


def marks(figure):
    """What is drawn, by its label: an array of shape (n, 2) each, of either backend."""
    if hasattr(figure, "to_plotly_json"):
        traces = [trace for trace in figure.data if trace.type in ("scatter", "bar")]
        return {
            t.name: np.column_stack([t.x, np.arange(len(t.x)) if t.type == "bar" else t.y]) for t in traces if t.name
        }
    (axes, *_) = figure.axes
    found = {line.get_label(): line.get_xydata() for line in axes.lines}
    for drawn in axes.collections:
        if type(drawn).__name__ == "PathCollection":
            found[drawn.get_label()] = np.asarray(drawn.get_offsets())
    for drawn in axes.containers:
        if hasattr(drawn, "patches"):
            found[drawn.get_label()] = np.array([[bar.get_width(), n] for n, bar in enumerate(drawn.patches)])
    return {label: at for label, at in found.items() if not label.startswith("_")}


def of(figure, beginning):
    (found,) = [at for label, at in marks(figure).items() if label.startswith(beginning)]
    return found


def title(figure):
    return figure.layout.title.text if hasattr(figure, "layout") else figure.get_suptitle()


def hover(figure, beginning):
    (found,) = [trace.hovertext for trace in figure.data if trace.name and trace.name.startswith(beginning)]
    return found


# ------------------------------------------------------------------------------------------- twins, and what is refused


@pytest.mark.usefixtures("small_forest")
@pytest.mark.parametrize("kind", KINDS)
def test_both_backends_show_the_same_numbers_under_the_same_names(study, kind):
    screen, paper = plots.draw(study, kind), plots.draw(study, kind, backend="matplotlib")
    bands = {trace.name for trace in screen.data if trace.type == "scatter" and trace.fill}
    ours = {label: at for label, at in marks(screen).items() if label not in bands}
    theirs = marks(paper)
    assert ours.keys() == theirs.keys()
    assert ours
    for label, at in ours.items():
        np.testing.assert_allclose(theirs[label], at, err_msg=label)
    assert title(paper) in title(screen)
    (axes, *_) = paper.axes
    assert axes.get_xlabel() == screen.layout.xaxis.title.text
    assert (axes.get_xscale() == "log") == (screen.layout.xaxis.type == "log")
    assert (axes.get_yscale() == "log") == (screen.layout.yaxis.type == "log")


@pytest.mark.usefixtures("small_forest")
@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_has_a_title_in_words_the_study_below_it_and_both_axes_named(study, kind):
    figure = plots.draw(study, kind)
    words, below = figure.layout.title.text.split("<br>")
    assert len(words.split()) > 3
    assert "study demo/1" in below
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text or kind == "importance"
    assert figure.layout.template.layout.plot_bgcolor == "white"
    io.BytesIO(figure.to_json().encode())  # JSON takes it as it is


@pytest.mark.usefixtures("small_forest")
@pytest.mark.parametrize("kind", KINDS)
def test_matplotlibs_figure_is_drawn_and_no_list_of_open_figures_holds_it(study, kind):
    import matplotlib.pyplot

    before = matplotlib.pyplot.get_fignums()
    picture = io.BytesIO()
    plots.draw(study, kind, backend="matplotlib").savefig(picture)
    assert picture.getvalue().startswith(b"\x89PNG")
    assert matplotlib.pyplot.get_fignums() == before


def test_an_unknown_kind_names_those_there_are(study):
    known = ", ".join(map(repr, KINDS))
    with pytest.raises(SettingError, match=rf"'contuor' is unknown\. Did you mean 'contour'\?.*: {known}"):
        plots.draw(study, "contuor")


def test_an_unknown_backend_names_the_two(study):
    with pytest.raises(SettingError, match="backend='bokeh' is unknown: write 'plotly' or 'matplotlib'"):
        plots.history(study, backend="bokeh")


@BOTH
def test_a_backend_that_is_not_installed_is_named_with_its_extra(study, backend, monkeypatch):
    door = f"with_{backend}"
    monkeypatch.setitem(sys.modules, backend, None)
    for module in [name for name in sys.modules if name.startswith(f"{backend}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"adamtune.plots.{door}")
    monkeypatch.delattr(plots, door)
    with pytest.raises(SettingError, match=rf"needs {backend}, which .* `pip install 'adamtune\[report\]'`"):
        plots.history(study, backend=backend)


def test_another_programs_study_is_refused():
    with pytest.raises(StudyError, match="was not made by"):
        plots.history(optuna.create_study(study_name="theirs"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_in_which_no_trial_has_ended_says_so(kind):
    made = Made()
    made.study.ask()
    with pytest.raises(StudyError, match="no trial of study 'demo/1' has ended"):
        plots.draw(made.study, kind)


@pytest.mark.usefixtures("small_forest")
@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_text_and_not_markup(kind, backend):
    named = searched(12, name="<a href='x'>$\\frac{</a>\x1b[31m/1")
    figure = plots.draw(named, kind, backend=backend)
    if backend == "matplotlib":
        figure.savefig(io.BytesIO())  # an unfinished formula would end this
    else:
        assert "&lt;a href" in figure.layout.title.text
        assert "\x1b" not in figure.to_json()


def test_figures_of_a_stored_study_load_no_keras_and_no_library_before_one_is_drawn(tmp_path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    storage = open_storage(url)
    searched(10, storage=storage)
    close(storage)
    code = (
        "import sys, optuna; from adamtune import plots\n"
        "assert not {'plotly', 'matplotlib'} & set(sys.modules)\n"
        f"study = optuna.load_study(study_name='demo/1', storage={url!r})\n"
        "for kind in ('history', 'contour', 'curves', 'time_to_target'): plots.draw(study, kind)\n"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# --------------------------------------------------------------------------------------------------------- history


@BOTH
@pytest.mark.parametrize("direction, best", [("minimize", [3, 3, 2, 2]), ("maximize", [3, 4, 4, 4])])
def test_the_best_so_far_follows_the_direction(direction, best, backend):
    made = Made(direction=direction)
    for value in (3.0, 4.0, 2.0, 2.5):
        made.add(value, learning_rate=0.01)
    line = of(plots.history(made.study, backend=backend), "best so far")
    np.testing.assert_array_equal(line, np.column_stack([[0, 1, 2, 3, 3], [*best, best[-1]]]))


def test_the_best_so_far_is_that_of_finished_trials_alone():
    made = Made().add(1.0).add(0.2, "pruned", epochs=1, learning_rate=0.02).add(0.5, learning_rate=0.03)
    line = of(plots.history(made.study), "best so far")
    np.testing.assert_array_equal(line, [[0, 1.0], [2, 0.5], [2, 0.5]])


def test_how_a_trial_ended_is_told_by_its_symbol(study):
    looks = {trace.name: trace.marker.symbol for trace in plots.history(study).data if trace.mode == "markers"}
    assert {looks[how] for how in ("finished", "pruned", "diverged")} == {"circle", "triangle-down", "x"}
    ended = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    assert len(of(plots.history(study), "pruned")) == ended.count("PRUNED")


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_diverged_trial_stands_at_the_edge_and_not_at_its_penalty(direction):
    made = Made(direction=direction)
    for value in (1.0, 2.0, 3.0):
        made.add(value, learning_rate=value / 100)
    made.add(1e9 if direction == "minimize" else -1e9, "diverged", learning_rate=0.1)
    worst = 3.0 if direction == "minimize" else 1.0
    np.testing.assert_array_equal(of(plots.history(made.study), "diverged"), [[3, worst]])


def test_outliers_stand_at_the_edge_and_the_figure_says_how_many():
    made = Made(objective="val_r2", direction="maximize")
    for number in range(30):
        made.add(0.9 - number / 100, learning_rate=0.01)
    made.add(-5000.0, learning_rate=0.1)
    figure = plots.history(made.study)
    assert of(figure, "finished")[:, 1].min() > 0
    assert "worse trials at the edge: 1" in figure.layout.title.text
    assert "val_r2 -5000" in hover(figure, "finished")[-1]


def test_losses_of_many_orders_get_a_logarithmic_axis_and_scores_do_not():
    losses, scores = Made(), Made(direction="maximize", objective="val_accuracy")
    for value in (0.01, 0.1, 0.9):
        losses.add(value)
        scores.add(value)
    assert plots.history(losses.study).layout.yaxis.type == "log"
    figure = plots.history(scores.study)
    assert figure.layout.yaxis.type != "log"
    assert figure.layout.yaxis.title.text == "val_accuracy (higher is better)"


def test_the_default_and_the_winner_are_marked():
    made = Made().add(0.9).add(0.5, learning_rate=0.01).add(0.6, learning_rate=0.02)
    assert {"default Adam: trial 0", "best: trial 1"} <= set(marks(plots.history(made.study)))
    records.write_winner(made.study, 2, OptimizerConfig("adam", learning_rate=0.02), 0.55, 0.01, passes=3)
    figure = plots.history(made.study)
    np.testing.assert_array_equal(of(figure, "winner: trial 2"), [[2, 0.6]])
    assert "3 trials, winner: trial 2 with val_loss 0.6" in title(figure)


def test_who_points_at_a_trial_reads_its_config():
    made = Made().add(0.5, learning_rate=0.02, beta_1=0.95)
    (text,) = hover(plots.history(made.study), "finished")
    assert text.startswith("trial 0, finished<br>val_loss 0.5 after 4 epochs<br>OptimizerConfig('adam'")
    assert "learning_rate=0.02, beta_1=0.95" in text


@BOTH
def test_a_study_in_which_all_diverged_has_a_history_that_says_so(backend):
    made = Made().add(9.0, "diverged").add(9.0, "diverged", learning_rate=0.1)
    figure = plots.history(made.study, backend=backend)
    assert "2 trials, none with a finite loss" in title(figure)
    assert len(of(figure, "diverged")) == 2


@BOTH
@pytest.mark.parametrize("kind", ["history", "contour", "curves", "time_to_target"])
def test_a_single_trial_is_a_figure(kind, backend):
    made = Made().add(0.5, curve=[1.0, 0.7, 0.6, 0.5], learning_rate=0.02)
    assert marks(plots.draw(made.study, kind, backend=backend))


def test_a_trial_with_a_damaged_config_is_shown_without_it():
    made = Made().add(0.5).add(0.4)
    trial = made.study.ask()
    trial.set_user_attr("config", '{"schema": 1, "optimizer": "adma"}')
    made.study.tell(trial, 0.3)
    figure = plots.history(made.study)
    assert of(figure, "finished")[-1].tolist() == [2, 0.3]
    assert "OptimizerConfig" not in hover(figure, "finished")[-1]


@pytest.mark.parametrize(
    "values, sign, log, expected",
    [
        ([1.0, 2.0, 3.0], 1, False, 3.0),
        ([1.0] * 19 + [50.0], 1, False, 50.0),
        ([0.0] * 10 + [1.0] * 9 + [50.0], 1, False, 2.0),
        ([0.0] * 10 + [-1.0] * 9 + [-50.0], -1, False, -2.0),
        ([1.0] * 10 + [10.0] * 9 + [1e9], 1, True, 100.0),
        ([], 1, False, 1.0),
    ],
)
def test_the_edge_is_twice_as_far_as_nine_in_ten(values, sign, log, expected):
    assert edge(np.array(values), sign, log) == pytest.approx(expected)


# --------------------------------------------------------------------------------------------------------- contour


@BOTH
def test_the_contour_has_the_axes_on_which_was_searched(study, backend):
    figure = plots.contour(study, backend=backend)
    if backend == "plotly":
        assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
        labels = figure.layout.xaxis.title.text, figure.layout.yaxis.title.text
        (low, high), (short, long) = (10 ** np.array(axis.range) for axis in (figure.layout.xaxis, figure.layout.yaxis))
    else:
        (axes, *_) = figure.axes
        assert axes.get_xscale() == axes.get_yscale() == "log"
        labels = axes.get_xlabel(), axes.get_ylabel()
        (low, high), (short, long) = axes.get_xlim(), axes.get_ylim()
    assert labels == ("learning_rate (log scale)", "1 − beta_1 (log scale)")
    assert 5e-5 < low < 1e-4 and 0.1 < high < 0.2
    assert 0.005 < short < 0.01 and 0.5 < long < 0.7


def test_trials_stand_at_what_they_trained_with(study):
    at = of(plots.contour(study), "finished")
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE" and not records.diverged(t)]
    configs = [records.config_of(trial) for trial in trials]
    np.testing.assert_allclose(at, [[config.learning_rate, 1 - config.beta_1] for config in configs])


def test_the_surface_is_lowest_where_the_best_trials_are_and_empty_where_nobody_was():
    made = Made()
    for rate in np.logspace(-4, -1, 12):
        for beta in (0.98, 0.95):
            made.add(bowl(rate, beta), learning_rate=rate, beta_1=beta)
    (surface,) = [trace for trace in plots.contour(made.study).data if trace.type == "contour"]
    z = np.asarray(surface.z)
    _, across = np.unravel_index(np.nanargmin(z), z.shape)
    assert surface.x[across] == pytest.approx(0.01, rel=0.5)
    assert np.isnan(z[-1]).all()  # 1 - beta = 0.5, far from all
    assert 0 <= surface.contours.start <= np.nanmin(z) <= np.nanmax(z) <= surface.contours.end <= 100


def test_any_two_numbers_that_were_searched_can_be_asked_for():
    wanted = TWO | {"epsilon": (1e-8, 1e-2), "beta_2": (0.9, 0.9999)}
    made = Made(wanted=wanted).add(0.5, epsilon=0).add(0.6, epsilon=1e-3, beta_2=0.99)
    figure = plots.contour(made.study, "one_minus_beta_2", "epsilon")
    assert figure.layout.xaxis.title.text == "1 − beta_2 (log scale)"
    # No epsilon at all has no logarithm: it stands at the lower bound.
    np.testing.assert_allclose(of(figure, "finished"), [[0.001, 1e-8], [0.01, 1e-3]])


def test_a_range_of_ones_own_keeps_its_scale():
    wanted = {"learning_rate": (1e-4, 1e-1), "beta_1": optuna.distributions.FloatDistribution(0.5, 0.99)}
    made = Made(wanted=wanted).add(0.5, beta_1=0.8)
    figure = plots.contour(made.study)
    assert (figure.layout.yaxis.title.text, figure.layout.yaxis.type) == ("beta_1", None)
    np.testing.assert_allclose(of(figure, "finished"), [[0.001, 0.8]])


def test_a_default_outside_of_the_bounds_is_not_cut_off():
    made = Made(wanted={"learning_rate": (1e-2, 1e-1), "beta_1": (0.5, 0.99)})
    made.add(0.5).add(0.4, learning_rate=0.02)
    figure = plots.contour(made.study)
    assert of(figure, "default Adam")[0, 0] == 0.001
    assert figure.layout.xaxis.range[0] < -3


def test_without_beta_1_it_is_drawn_over_momentum():
    made = Made(("sgd",), {"learning_rate": (1e-3, 1.0), "nesterov": (False, True), "momentum": (0.5, 0.99)})
    made.add(0.5, optimizer="sgd", momentum=0.9)
    figure = plots.contour(made.study)
    assert figure.layout.yaxis.title.text == "1 − momentum (log scale)"
    assert title(figure).startswith("Where SGD is good: learning_rate and momentum")
    with pytest.raises(
        SettingError, match=r"y='beta_1' is no number that was searched for sgd.*learning_rate, momentum"
    ):
        plots.contour(made.study, y="beta_1")
    with pytest.raises(SettingError, match="y='nesterov' is no number"):
        plots.contour(made.study, y="nesterov")


def test_without_a_searched_rate_the_next_two_are_taken():
    made = Made(wanted={"beta_1": (0.5, 0.99), "epsilon": (1e-8, 1e-2)}).add(0.5)
    figure = plots.contour(made.study)
    assert figure.layout.xaxis.title.text == "1 − beta_1 (log scale)"
    assert figure.layout.yaxis.title.text == "epsilon (log scale)"


def test_the_same_hyper_twice_is_refused(study):
    with pytest.raises(SettingError, match="are the same hyper: name two of learning_rate, beta_1"):
        plots.contour(study, "beta_1", "one_minus_beta_1")


@pytest.mark.parametrize("kind", ["contour", "importance"])
def test_where_one_hyper_alone_was_searched_there_is_nothing_to_draw_it_against(kind):
    made = Made(wanted={"learning_rate": (1e-4, 1e-1), "beta_1": 0.9}).add(0.5)
    with pytest.raises(StudyError, match="searches learning_rate of adam"):
        plots.draw(made.study, kind)


@pytest.fixture(scope="module")
def several():
    """SGD does best."""
    wanted = {"learning_rate": (1e-4, 1.0), "beta_1": (0.5, 0.99), "momentum": (0.5, 0.99)}
    made = Made(("adam", "sgd"), wanted)
    for number in range(12):
        made.add(0.5 + number / 100, learning_rate=10 ** (-4 + number / 4), beta_1=0.9)
        made.add(0.3 + number / 100, optimizer="sgd", learning_rate=10 ** (-3 + number / 4), momentum=0.95)
    return made.study


@pytest.mark.usefixtures("small_forest")
@pytest.mark.parametrize("optimizer, shown", [(None, "SGD"), ("sgd", "SGD"), ("adam", "Adam")])
@pytest.mark.parametrize("kind", ["contour", "importance"])
def test_of_several_optimizers_the_best_or_the_one_asked_for_is_drawn(several, kind, optimizer, shown):
    figure = getattr(plots, kind)(several, optimizer=optimizer)
    assert shown in title(figure).split()
    assert "12 " in title(figure).split("<br>")[1]
    if kind == "contour":
        assert len(of(figure, "finished")) == 12


def test_an_optimizer_that_was_not_searched_is_refused(several):
    with pytest.raises(SettingError, match=r"optimizer='sdg' is not searched.*Did you mean 'sgd'"):
        plots.contour(several, optimizer="sdg")


def test_a_hyper_of_a_schedule_is_drawn_for_the_trials_that_have_it():
    wanted = {"learning_rate": (1e-4, 1e-1), "decay": (1e-5, 1e-2), "schedule": ["constant", "inverse_time"]}
    made = Made(wanted=wanted)
    made.add(0.5, schedule="constant").add(0.4, schedule="inverse_time", decay=1e-3)
    figure = plots.contour(made.study)
    np.testing.assert_allclose(of(figure, "finished"), [[0.001, 0.001]])
    assert "1 of 2 trials" in title(figure)


# ------------------------------------------------------------------------------------------------------ importance


@BOTH
def test_what_decides_is_on_top_with_an_interval_around_it(study, backend):
    figure = plots.importance(study, backend=backend)
    if backend == "plotly":
        (bars,) = figure.data
        names, values = list(bars.y), np.array(bars.x)
        low, high = values - np.array(bars.error_x.arrayminus), values + np.array(bars.error_x.array)
        assert figure.layout.yaxis.autorange == "reversed"
    else:
        (axes,) = figure.axes
        names = [label.get_text() for label in axes.get_yticklabels()]
        values = of(figure, "fANOVA")[:, 0]
        (intervals,) = [drawn for drawn in axes.collections if type(drawn).__name__ == "LineCollection"]
        low, high = np.array([segment[:, 0] for segment in intervals.get_segments()]).T
        assert axes.yaxis_inverted()
    assert names == ["learning_rate", "beta_1"]
    assert values[0] > 0.6 > 0.3 > values[1]
    assert (low <= values).all() and (values <= high).all() and (low < high).all()
    assert (high <= 1).all()


def test_importance_is_measured_on_the_scale_on_which_was_searched():
    """Half of the orders of the rate are bad: on an even scale they would be all of it, or none."""
    made = Made()
    chance = np.random.default_rng(0)
    for _ in range(120):
        rate, beta = 10 ** chance.uniform(-4, -1), 1 - 10 ** chance.uniform(-2, math.log10(0.5))
        loss = (rate < 10**-2.5) + (beta < 0.93)  # the middle of both, on their scales
        made.add(float(loss), learning_rate=rate, beta_1=beta)
    (bars,) = plots.importance(made.study).data
    assert bars.x[0] - bars.x[1] < 0.15
    assert sum(bars.x) == pytest.approx(1, abs=0.15)


@pytest.mark.usefixtures("small_forest")
def test_the_same_study_has_the_same_importance_whoever_asks(study):
    first, second = (plots.importance(study).to_json() for _ in range(2))
    assert first == second


@pytest.mark.usefixtures("small_forest")
def test_importance_does_not_talk_and_leaves_optunas_log_as_it_was(study, capfd):
    logger = logging.getLogger("optuna")
    level = logger.level
    plots.importance(study)
    assert logger.level == level
    assert capfd.readouterr() == ("", "")


def test_flags_and_schedules_have_an_importance_too():
    wanted = TWO | {"amsgrad": (False, True), "decay": (1e-5, 1e-2), "schedule": ["constant", "inverse_time"]}
    made = Made(wanted=wanted)
    for number in range(24):
        hypers = {"schedule": "inverse_time", "decay": 1e-3} if number % 3 else {"schedule": "constant"}
        made.add(0.5 + number % 2, learning_rate=10 ** (-4 + number / 8), amsgrad=bool(number % 2), **hypers)
    (bars,) = plots.importance(made.study).data
    assert bars.y[0] == "amsgrad"
    assert set(bars.y) == {"learning_rate", "beta_1", "amsgrad", "schedule"}  # decay is not there in every trial


@pytest.mark.usefixtures("small_forest")
def test_a_huge_loss_and_a_penalty_do_not_count_for_all():
    """Places are drawn, not values: how bad the worst was makes no difference."""
    shares = []
    for worst in (5.0, 1e30):
        made = Made()
        for number in range(20):
            value = worst if number == 13 else bowl(10 ** (-4 + number / 7), 0.9)
            made.add(value, "diverged" if number == 13 else "finished", learning_rate=10 ** (-4 + number / 7))
        shares.append(plots.importance(made.study).data[0].x)
    np.testing.assert_array_equal(*shares)


def test_an_importance_of_few_trials_or_of_equal_ones_is_refused():
    few = Made().add(0.5).add(0.4, learning_rate=0.01)
    with pytest.raises(StudyError, match="2 trials of adam have ended in study demo/1: expected 8"):
        plots.importance(few.study)
    equal = Made()
    for number in range(9):
        equal.add(9.0, "diverged", learning_rate=0.01 + number / 100)
    with pytest.raises(StudyError, match="all trials of adam in study demo/1 diverged"):
        plots.importance(equal.study)


# ---------------------------------------------------------------------------------------------------------- curves


def test_the_best_five_and_the_default_are_named_and_the_rest_is_one_line(study):
    figure = plots.curves(study)
    labels = [trace.name for trace in figure.data if trace.name]
    named = [label for label in labels if "trial " in label]
    assert len(named) == 6
    assert named[-1].startswith("best: trial ")  # above all others
    assert sum("default Adam" in label for label in named) == 1
    assert "34 others" in labels
    assert of(figure, "trial 0, default Adam: 0.9").tolist() == [[1, 2], [2, 1.5], [3, 1], [4, pytest.approx(0.9)]]


def test_highlighted_curves_differ_in_dash_or_width_and_not_in_colour_alone(study):
    lines = [trace.line for trace in plots.curves(study).data if trace.name and "trial " in trace.name]
    assert len({(line.dash, line.width) for line in lines}) >= len(lines) - 1


def test_the_rest_has_the_median_and_middle_half_of_those_that_still_train():
    made = Made()
    for number in range(5):
        made.add(0.1, curve=[1.0, 0.5, 0.2, 0.1], learning_rate=0.01 + number / 100)
    for end in (1.0, 2.0, 3.0, 4.0):
        made.add(end, curve=[9.0, 8.0, 7.0, end], learning_rate=0.02)
    made.add(100.0, "pruned", epochs=1, curve=[100.0], learning_rate=0.09)
    figure = plots.curves(made.study)
    np.testing.assert_allclose(of(figure, "their median"), [[1, 9], [2, 8], [3, 7], [4, 2.5]])
    low, high = [trace for trace in figure.data if trace.legendgroup]
    np.testing.assert_allclose([low.y[-1], high.y[-1]], [1.75, 3.25])
    assert high.fill == "tonexty"


def test_where_the_others_were_cut_off_is_told_by_a_symbol(study):
    figure = plots.curves(study)
    cut = of(figure, "pruned")
    assert (cut[:, 0] == 1).all()
    assert len(cut) == sum(t.state.name == "PRUNED" for t in study.get_trials(deepcopy=False))
    assert len(of(figure, "diverged")) == sum(records.diverged(t) for t in study.get_trials(deepcopy=False))


def test_a_metric_that_judges_is_what_is_drawn():
    made = Made(direction="maximize", objective="val_accuracy")
    made.add(0.9, curve=Curve([4, 3, 2, 1], [5, 4, 3, 2], [0.5, 0.7, 0.8, 0.9]))
    figure = plots.curves(made.study)
    np.testing.assert_allclose(of(figure, "best")[:, 1], [0.5, 0.7, 0.8, 0.9], rtol=1e-6)
    assert figure.layout.yaxis.title.text == "val_accuracy (higher is better)"


def test_of_several_passes_the_mean_of_the_whole_ones_is_drawn():
    made = Made(passes=3)
    made.add(0.5, curve=[4, 3, 2, 1, 6, 5, 4, 3, 9, 9], learning_rate=0.01)
    made.add(7.0, "pruned", epochs=2, curve=[8.0, 7.0], learning_rate=0.02)
    figure = plots.curves(made.study)
    np.testing.assert_allclose(of(figure, "best"), [[1, 5], [2, 4], [3, 3], [4, 2]])
    np.testing.assert_allclose(of(figure, "trial 1"), [[1, 8], [2, 7]])
    assert "passes" in figure.layout.xaxis.title.text


def test_with_patience_passes_differ_in_length_and_the_first_is_drawn():
    made = Made(passes=2, patience=1)
    made.add(1.0, curve=[2, 1, 3, 4, 3, 2, 1], attrs={"best_epoch": 2, "best_epoch_1": 4}, learning_rate=0.01)
    figure = plots.curves(made.study)
    np.testing.assert_allclose(of(figure, "best"), [[1, 2], [2, 1], [3, 3]])
    assert figure.layout.xaxis.title.text == "epoch of the first pass"


def test_a_default_that_was_cut_off_early_can_be_seen():
    made = Made().add(3.0, "pruned", epochs=1, curve=[3.0])
    for number in range(6):
        made.add(0.1, curve=[1.0, 0.5, 0.2, 0.1], learning_rate=0.01 + number / 100)
    figure = plots.curves(made.study)
    np.testing.assert_array_equal(of(figure, "default Adam was pruned here"), [[1, 3]])


def test_a_study_without_curves_says_why():
    made = Made().add(0.5)
    with pytest.raises(StudyError, match="study demo/1 has no learning curves"):
        plots.curves(made.study)


@pytest.mark.usefixtures("small_forest")
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_trials_make_no_heavy_figure(kind):
    made = Made()
    chance = np.random.default_rng(0)
    drawn = {}
    for number in range(1000):
        rate, beta = 10 ** chance.uniform(-4, -1), 1 - 10 ** chance.uniform(-2, math.log10(0.5))
        made.add(bowl(rate, beta), learning_rate=rate, beta_1=beta)
        drawn[number] = Curve(np.ones(1000), bowl(rate, beta) + np.geomspace(10, 1e-3, 1000))
    curves.write(made.study, drawn)
    figure = plots.draw(made.study, kind)
    assert sum(trace.showlegend is not False for trace in figure.data) <= 12
    assert len(figure.to_json()) < 1_000_000


# -------------------------------------------------------------------------------------------------- time to target


def five():
    """The default reaches its own end at epoch 4 and trial 1 that value at epoch 2; the others never do."""
    made = Made().add(0.9, curve=[2.0, 1.5, 1.0, 0.9])
    made.add(0.5, curve=[1.0, 0.8, 0.6, 0.5], learning_rate=0.01)
    made.add(5.0, "pruned", epochs=1, curve=[5.0], learning_rate=0.02)
    made.add(99.0, "diverged", epochs=1, curve=[float("nan")], learning_rate=0.1)
    return made.add(3.0, curve=[3.0, 3.0, 3.0, 3.0], learning_rate=0.0001).study


@BOTH
def test_the_share_that_has_reached_the_target_rises_by_epoch(backend):
    figure = plots.time_to_target(five(), backend=backend)
    assert "How soon 2 of 5 trials reached val_loss 0.9" in title(figure)
    np.testing.assert_allclose(of(figure, "5 trials"), [[0, 0], [2, 20], [4, 40], [4.12, 40]])
    np.testing.assert_allclose(of(figure, "best: trial 1: epoch 2"), [[2, 20]])
    np.testing.assert_allclose(of(figure, "default Adam, trial 0: epoch 4"), [[4, 40]])


def test_had_the_pruned_gone_on_like_the_others_more_would_have_reached_it():
    """The pruned one is in the denominator up to epoch 1, the others to the end: 1/4, then 1/3 of the remaining 3/4."""
    low, high = [trace for trace in plots.time_to_target(five()).data if trace.legendgroup]
    assert high.name == "had the 1 pruned before gone on like the rest"
    np.testing.assert_allclose(low.x, [0, 2, 2, 4, 4, 4.12, 4.12])
    np.testing.assert_allclose(low.y, [0, 0, 20, 20, 40, 40, 40])
    np.testing.assert_allclose(high.y, [0, 0, 25, 25, 50, 50, 50])
    (area,) = plots.time_to_target(five(), backend="matplotlib").axes[0].collections[:1]
    ends = area.get_paths()[0].vertices
    assert {tuple(end) for end in np.column_stack([high.x, high.y])} <= {tuple(np.round(end, 9)) for end in ends}


def test_where_nobody_was_pruned_before_there_is_no_band():
    made = Made().add(0.9, curve=[2.0, 1.5, 1.0, 0.9])
    made.add(0.8, "pruned", epochs=2, curve=[0.7, 0.8], learning_rate=0.01)  # it was there before
    figure = plots.time_to_target(made.study)
    np.testing.assert_allclose(of(figure, "2 trials"), [[0, 0], [1, 50], [4, 100], [4.12, 100]])
    assert not [trace for trace in figure.data if trace.fill]


@pytest.mark.parametrize("seed", range(20))
def test_the_estimate_is_that_of_redistribution_to_the_right(seed):
    """Efron 1967: whoever is cut off hands its weight on, in equal parts, to those that are known for longer."""
    chance = np.random.default_rng(seed)
    n = int(chance.integers(2, 30))
    when = chance.integers(1, 12, n).astype(float)
    when[chance.random(n) < 0.3] = np.inf
    known = np.where(chance.random(n) < 0.5, chance.integers(1, 12, n), np.inf)
    when = np.where(when <= known, when, np.inf)
    weights = np.full(n, 1 / n)
    for at in np.lexsort([np.isfinite(when), -np.minimum(when, known)])[::-1]:
        later = np.minimum(when, known) > known[at]
        if not np.isfinite(when[at]) and np.isfinite(known[at]) and later.any():
            weights[later] += weights[at] / later.sum()
            weights[at] = 0
    x = np.arange(13.0)
    expected = [weights[when <= epoch].sum() for epoch in x]
    np.testing.assert_allclose(_time_to_target._kaplan_meier(when, known, x), expected, atol=1e-12)


def test_a_target_of_ones_own_is_taken_in_the_direction_of_the_study():
    made = Made(direction="maximize", objective="val_accuracy")
    for end in (0.7, 0.9):
        made.add(end, curve=Curve([1, 1], [1, 1], [0.5, end]), learning_rate=end / 100)
    figure = plots.time_to_target(made.study, 0.8)
    assert "1 of 2 trials reached val_accuracy 0.8" in title(figure)
    assert "the target is as asked for" in title(figure)
    np.testing.assert_allclose(of(figure, "2 trials"), [[0, 0], [2, 50], [2.06, 50]])


def test_a_target_that_nobody_reached_is_a_line_at_zero_and_says_so():
    figure = plots.time_to_target(five(), 0.01)
    assert "How soon 0 of 5 trials" in title(figure)
    np.testing.assert_allclose(of(figure, "5 trials"), [[0, 0], [4.12, 0]])
    np.testing.assert_allclose(of(figure, "best: trial 1: not by epoch 4"), [[4, 0]])


def test_where_the_default_did_not_finish_half_of_the_finished_set_the_target():
    made = Made().add(3.0, "pruned", epochs=1, curve=[3.0])
    for end in (0.1, 0.2, 0.4, 0.5):
        made.add(end, curve=[1.0, 0.9, 0.8, end], learning_rate=end / 10)
    figure = plots.time_to_target(made.study)
    assert "2 of 5 trials reached val_loss 0.3<br>" in title(figure)
    assert "what half of the finished trials came to" in title(figure)
    np.testing.assert_allclose(of(figure, "default Adam, trial 0: not by epoch 1"), [[1, 0]])


def test_with_patience_the_target_is_the_best_epoch_of_the_default():
    made = Made(patience=2).add(0.5, curve=[1.0, 0.5, 0.8, 0.9], attrs={"best_epoch": 2})
    figure = plots.time_to_target(made.study)
    assert "val_loss 0.5" in title(figure)
    np.testing.assert_allclose(of(figure, "1 trials"), [[0, 0], [2, 100], [4.12, 100]])


def test_without_a_finished_trial_a_target_has_to_be_named():
    made = Made().add(3.0, "pruned", epochs=1, curve=[3.0])
    with pytest.raises(StudyError, match=r"no trial of study demo/1 has trained to its end.*target=\.\.\."):
        plots.time_to_target(made.study)
    assert marks(plots.time_to_target(made.study, 2.0))


@pytest.mark.parametrize("target", [float("nan"), "0.5", True])
def test_a_target_that_is_no_number_is_refused(study, target):
    with pytest.raises(SettingError, match="expected a finite number, a value of val_loss"):
        plots.time_to_target(study, target)


def test_without_curves_there_is_no_time_to_a_target():
    with pytest.raises(StudyError, match="study demo/1 has no learning curves"):
        plots.time_to_target(Made().add(0.5).study)


# ---------------------------------------------------------------------------------------------------------- compact


@pytest.mark.usefixtures("small_forest")
@pytest.mark.parametrize("kind", compact.KINDS)
def test_a_text_is_the_figure_with_smaller_letters(study, kind):
    import plotly.graph_objects as go

    from adamtune.plots import with_plotly

    drawn = compact._MADE[kind](study, read(study))
    small, usual = go.Figure(json.loads(with_plotly.text(drawn))), with_plotly.figure(drawn)
    assert small.layout.title.text == usual.layout.title.text
    assert small.layout.template == usual.layout.template
    for ours, theirs in zip(small.data, usual.data, strict=True):
        assert (ours.type, ours.name) == (theirs.type, theirs.name)
        for axis in ("x", "y", "z")[: 3 if ours.type == "contour" else 2]:
            here, there = (unpacked(each[axis]) for each in (ours, theirs))
            if there.dtype.kind == "f":
                np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6)
            else:
                assert list(here) == list(there)


def unpacked(column):
    """The numbers that Plotly keeps as it was given them."""
    if not isinstance(column, dict):
        return np.asarray(column)
    found = np.frombuffer(base64.b64decode(column["bdata"]), column["dtype"])
    return found.reshape([int(size) for size in column["shape"].split(",")]) if "shape" in column else found


def test_a_text_that_is_too_long_leaves_out_words_first_and_then_trials():
    made = Made()
    for number in range(600):
        made.add(0.5 + number / 1000, learning_rate=10 ** (-4 + number / 300), curve=[1.0, 0.8, 0.7, 0.5])
    seen, kept = read(made.study), {}
    for most in (10**9, 80_000, 35_000, 0):
        drawn = json.loads(compact.text(made.study, seen, "history", most))
        (found,) = [trace for trace in drawn["data"] if "finished" in trace["name"]]
        kept[most] = found["name"], found.get("hovertext", [""])[0].count("<br>")
    assert list(kept.values()) == [("finished", 2), ("finished", 1), ("finished", 0), ("200 of 600 finished", 0)]


def test_a_text_keeps_the_ends_of_each_line():
    x = np.array([*range(1, 1001), np.nan] * 3, float)
    kept = x[compact._places(x)]
    assert len(kept) == 3 * compact._EPOCHS
    assert (kept[0], np.isnan(kept).sum()) == (1, 3)


# ----------------------------------------------------------------------------------------------------- of the tuner


@pytest.fixture
def tuner(study):
    """A tuner that stands where `fit` leaves it."""
    from adamtune import AdamTuner

    fitted = AdamTuner(storage="memory")
    fitted.study_ = study
    return fitted


@pytest.mark.usefixtures("small_forest")
@pytest.mark.parametrize("kind", KINDS)
def test_the_tuner_draws_its_study(tuner, study, kind):
    assert tuner.plot(kind).to_json() == plots.draw(study, kind).to_json()
    paper = tuner.plot(kind, backend="matplotlib")
    assert type(paper).__module__ == "matplotlib.figure"


def test_the_tuner_draws_the_history_by_default(tuner):
    assert of(tuner.plot(), "best so far").size


def test_before_the_fit_there_is_nothing_to_draw():
    from sklearn.exceptions import NotFittedError

    from adamtune import AdamTuner

    with pytest.raises(NotFittedError):
        AdamTuner().plot()


def test_a_pickled_tuner_says_how_to_open_its_study(tuner):
    again = pickle.loads(pickle.dumps(tuner))
    with pytest.raises(StudyError, match=r"study 'demo/1'.*optuna\.load_study.*plots\.draw\(study, 'contour'"):
        again.plot("contour")
