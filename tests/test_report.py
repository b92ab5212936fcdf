import json
import re
import sys

import pytest

from adamtune import report
from adamtune.errors import SettingError, StudyError
from adamtune.tuning import records, storage
from tests import many

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    opened = storage.open_storage(f"sqlite:///{tmp_path_factory.mktemp('runs') / 'runs.db'}")
    yield many.made(opened, 80, name="mine", exact=True, sampler="random")
    storage.close(opened)


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.html", "<!doctype"), ("a.HTM", "<!doctype"), ("a.md", "# Study"), ("a.json", "{"), ("a", "<!")],
)
def test_the_name_of_the_file_says_the_format(study, tmp_path, name, begins):
    file = report.write(study, tmp_path / name)
    assert file == tmp_path / name and file.read_text(encoding="utf-8").startswith(begins)


def test_a_format_that_is_given_counts(study, tmp_path):
    assert report.write(study, tmp_path / "a.txt", "md").read_text(encoding="utf-8").startswith("# Study")
    with pytest.raises(SettingError, match=r"format='pdf' is unknown\. Expected one of: 'html', 'md', 'json'"):
        report.write(study, tmp_path / "a.pdf", "pdf")
    assert not (tmp_path / "a.pdf").exists()


def test_html_needs_nothing_else(study):
    text = report.text(study, "html")
    pages = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)  # Plotly names the addresses of maps
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:|//|/)", pages)
    assert text.count("Plotly.react") == 1 and len(text) < 8e6
    assert text.count("<figure data-figure=") == 5
    drawn = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert all(json.loads(each)["data"] for each in drawn) and len(drawn) == 5


def test_json_says_what_the_study_says(study):
    found = json.loads(report.text(study, "json"))
    trials = study.get_trials()
    assert len(found["trials"]) == len(trials)
    for told, trial in zip(found["trials"], trials, strict=True):
        if told["state"] == "diverged":
            assert records.diverged(trial) and told["value"] is None
        else:
            assert told["value"] == trial.value and told["state"] == trial.state.name.lower()
        assert told["config"] == json.loads(trial.user_attrs["config"])
        assert len(told["curve"]) == told["epochs"]
    assert found["summary"]["counts"]["finished"] == 80
    assert sum(rung["pruned"] for rung in found["pruned_at"]) == found["summary"]["counts"]["pruned"]


def test_rungs_count_who_came_who_went_and_what_they_had(study):
    found = json.loads(report.text(study, "json"))["pruned_at"]
    assert len(found) >= 2
    for rung in found:
        step = rung["epochs"]
        came = [t for t in study.get_trials() if step in t.intermediate_values]
        gone = [t for t in came if t.state.name == "PRUNED" and t.last_step == step]
        assert (rung["came"], rung["pruned"]) == (len(came), len(gone))
        values = sorted(t.intermediate_values[step] for t in gone)
        assert rung["cut"] == pytest.approx((values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2)
        assert rung["kept"] is None or rung["kept"] < rung["cut"]


def test_markdown_has_lines_that_run(study):
    text = report.text(study, "md")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    compile(code, "report", "exec")
    assert "model.compile(" in code and "| trial |" in text and "25.0 % lower" in text


def test_a_study_that_runs_or_has_no_trial_has_a_report_too():
    opened = storage.open_storage("memory")
    begun, happening = many.events(opened, 40, name="begun", exact=True)
    for format in report.FORMATS:
        assert "begun" in report.text(begun, format)
    for _ in range(3):
        next(happening)
    for format in report.FORMATS:
        assert "begun" in report.text(begun, format)
    assert json.loads(report.text(begun, "json"))["summary"]["winner"] is None


def test_what_diverged_is_listed_and_is_no_number():
    opened = storage.open_storage("memory")
    study = many.made(opened, 300, name="wild", exact=True, seed=5)
    lost = [trial for trial in study.get_trials() if records.diverged(trial)]
    assert lost, "this test needs a study in which trials diverge"
    text = report.text(study, "md")
    assert "What diverged" in text and f"| {lost[0].number} |" in text
    assert not re.search("NaN|Infinity", report.text(study, "json"))


def test_texts_of_others_stay_text():
    opened = storage.open_storage("memory")
    study = many.made(opened, 30, name=EVIL, exact=True, task=f"{EVIL}|`a`[x](http://y)", device=EVIL)
    for format in ("html", "md"):
        text = report.text(study, format)
        assert "<script>alert" not in text
    assert "\\[x\\](http" in report.text(study, "md")


def test_a_study_of_somebody_else_is_refused():
    opened = storage.open_storage("memory")
    with pytest.raises(StudyError, match="was not made by"):
        report.text(many.plain(opened), "md")


@pytest.mark.parametrize("missing", ["bottle", "plotly"])
def test_what_is_missing_is_named_with_the_line_that_installs_it(study, monkeypatch, missing):
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "adamtune.plots.with_plotly", raising=False)
    monkeypatch.delattr("adamtune.plots.with_plotly", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SettingError, match=r"pip install 'adamtune\[report\]'"):
        report.text(study, "html")
    assert report.text(study, "md").startswith("# Study")
