"""What a terminal sees and what a pipe gets: width, codes, colour; and what Tab offers."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import optuna
import pytest

from adamtune.cli import completing
from tests import shell
from tests.shell import add_study, confirmed

LONG = "a-study-with-a-very-long-name/" + 90 * "x"
CODES = re.compile(r"\x1b\[[0-9;]*m")
# Several command lines in one process, because the imports take longer than they do.
MANY = """
import os, sys
from adamtune import cli
for line in sys.argv[1:]:
    variables, _, words = line.rpartition("; ")
    os.environ.update(each.split("=") for each in variables.split())
    print(f"> {line}", flush=True)
    cli.app(words.split(), standalone_mode=False)
    for each in variables.split():
        del os.environ[each.split("=")[0]]
"""


LOOKING = [
    "--help",
    "studies",
    "show digits",
    "optimizers",
    "optimizers adamw",
    "store stats",
    "recommend --task table-regression",
    "tune --help",
    "export digits --to keras",
]
UNCOLOURED = "NO_COLOR=1 FORCE_COLOR=1; studies"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A database of three studies: one confirmed, one that runs, one with a long name."""
    url = f"sqlite:///{tmp_path_factory.mktemp('terminal') / 'studies.db'}"
    with shell.database(url) as opened:
        confirmed(add_study(opened, "digits/20260101-101010-abcd", task="multiclass-1347x64"))
        add_study(opened, "houses/20260102-101010-abcd", 12, task="regression-200x5", optimizer="adam+sgd")
        add_study(opened, LONG, optimizer="adam+sgd+lion+nadam")
    return url


@pytest.fixture
def stored(url, monkeypatch):
    monkeypatch.setenv("ADAMTUNE_STORAGE", url)


def pieces(text):
    """What each command line of MANY wrote."""
    found = re.split(r"^> (.*)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


@pytest.fixture(scope="module")
def seen(url):
    """What a terminal of 80 columns shows of each line."""
    lines = [*LOOKING, "NO_COLOR=1; studies", "TERM=dumb; studies", UNCOLOURED, "show digits --json"]
    text, code = shell.on_terminal("-c", MANY, *lines, ADAMTUNE_STORAGE=url)
    assert code == 0, text
    return pieces(text)


@pytest.fixture(scope="module")
def piped(url, tmp_path_factory):
    """What a pipe gets of each line."""
    lines = [*LOOKING, "FORCE_COLOR=1; studies", UNCOLOURED]
    cwd = tmp_path_factory.mktemp("pipe")
    ended = shell.python("-c", MANY, *lines, cwd=cwd, ADAMTUNE_STORAGE=url, COLUMNS="40")
    assert ended.returncode == 0, ended.stderr
    return pieces(ended.stdout)


@pytest.mark.parametrize("line", LOOKING)
def test_a_terminal_gets_its_width(line, seen):
    plain = CODES.sub("", seen[line])
    assert max(map(len, plain.splitlines())) <= 80
    assert "…" not in plain and "\x1b" not in plain


def test_a_terminal_gets_codes_unless_it_wants_none(seen):
    assert "\x1b[1m" in seen["studies"] and "\x1b[1m" in seen["show digits"]
    for line in ("NO_COLOR=1; studies", "TERM=dumb; studies", UNCOLOURED):
        assert seen[line] == CODES.sub("", seen["studies"])


def test_a_terminal_sees_a_study_at_a_glance(seen):
    lines = CODES.sub("", seen["studies"]).splitlines()
    assert lines[0].split() == ["study", "began", "trials", "state", "best", "gain"]
    assert re.sub(r"\d+ min ago", "now", lines[1]).split() == [
        *("digits/20260101-101010-abcd", "now", "1", "finished", "0.2", "+20.0", "%")
    ]
    assert lines[2].split() == ["multiclass-1347x64,", "adam", "val_loss"]
    assert re.sub(r"\d+ min ago", "now", lines[3]).split() == [
        *("houses/20260102-101010-abcd", "now", "12", "running", "0.3", "-")
    ]
    assert "4 optimizers" in " ".join(lines[5:])


def test_json_is_the_same_on_a_terminal_and_has_no_codes(seen):
    assert json.loads(seen["show digits --json"])["winner"]["score"] == 0.2


@pytest.mark.parametrize("line", LOOKING)
def test_a_pipe_gets_plain_lines(line, piped):
    assert piped[line].strip() and "\x1b" not in piped[line]
    assert not [each for each in piped[line].splitlines() if each != each.rstrip()]


def test_a_pipe_gets_a_line_for_each_row_however_long(piped):
    rows = [row.split() for row in piped["studies"].splitlines()]
    assert [row[0] for row in rows] == ["study", "digits/20260101-101010-abcd", "houses/20260102-101010-abcd", LONG]
    assert {len(row) for row in rows} == {11}
    assert len(piped["optimizers"].splitlines()) == 1 + len(completing.optimizers(""))


def test_a_pipe_gets_codes_where_they_are_asked_for(piped):
    coloured = piped["FORCE_COLOR=1; studies"]
    assert "\x1b[" in coloured and CODES.sub("", coloured).split() == piped["studies"].split()
    assert piped[UNCOLOURED] == piped["studies"]


def test_a_reader_who_has_gone_is_no_traceback(url, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    line = [sys.executable, "-m", "adamtune", "studies", "--storage", url]
    ended = subprocess.run(
        line, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, env=shell.environment(), check=False
    )
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


# ------------------------------------------------------------------------------------------------- what Tab offers


@pytest.fixture
def offered(tmp_path):
    """What bash would get for the last of these words, from a process of its own."""

    def offered(*words, **environment):
        line = {"COMP_WORDS": " ".join(["adamtune", *words]), "COMP_CWORD": str(len(words))}
        ended = shell.python("-m", "adamtune", cwd=tmp_path, _ADAMTUNE_COMPLETE="complete_bash", **line, **environment)
        assert ended.stderr == ""
        return ended.stdout.split()

    return offered


def test_names_of_studies_are_offered_and_what_they_begin_with(stored, offered):
    assert offered("show", "d") == ["digits", "digits/20260101-101010-abcd"]


def test_a_study_that_was_run_beside_another_is_not_offered_nor_one_of_plain_optuna():
    with shell.database() as opened:
        for name in ("digits/1", "houses/1", "digits/2", "digits/1/learning-rate-alone/1", "plain"):
            add_study(opened, name)
        optuna.create_study(storage=opened, study_name="pla/theirs")
    context = SimpleNamespace(params={})
    assert completing.studies(context, "") == ["plain", "digits", "digits/2", "houses", "houses/1", "digits/1"]
    assert completing.studies(context, "h") == ["houses", "houses/1"]


@pytest.mark.parametrize("storage", ["{}/typo.db", "sqlite:///{}/typo.db", "nonsense://x", "memory", "{}/text.db"])
def test_a_storage_without_studies_offers_none_and_is_not_made(storage, tmp_path, capfd):
    (tmp_path / "text.db").write_text("no database")
    context = SimpleNamespace(params={"storage": storage.format(tmp_path)})
    assert completing.studies(context, "") == []
    assert os.listdir(tmp_path) == ["text.db"]
    assert capfd.readouterr() == ("", "")


def test_what_takes_longer_than_a_breath_is_given_up():
    never = threading.Event()
    assert completing._within(0.01, lambda: [str(never.wait(60))]) == []
    never.set()


def test_optimizers_and_choices_are_offered():
    assert completing.optimizers("adamw") == ["adamw"]
    assert completing.optimizers("adam,lamb,li") == ["adam,lamb,lion"]
    assert completing.among("tpe", "random")("r") == ["random"]


def test_formats_are_offered(offered):
    assert offered("export", "x", "--to", "") == ["keras", "torch", "optax", "json"]


def test_names_of_a_file_are_offered_without_optuna(stored, tmp_path):
    program = """
import sys
from types import SimpleNamespace
from adamtune.cli import completing
assert completing.studies(SimpleNamespace(params={}), "dig")
print([name for name in ("optuna", "sqlalchemy", "numpy", "rich", "keras") if name in sys.modules])
"""
    ended = shell.python("-c", program, cwd=tmp_path)
    assert ended.stdout == "[]\n", ended.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_bash_learns_it_from_show_completion(stored, tmp_path):
    (tmp_path / "adamtune").write_text(f'#!/bin/sh\nexec {sys.executable} -m adamtune "$@"\n')
    (tmp_path / "adamtune").chmod(0o755)
    script = """
eval "$(adamtune --show-completion)"
COMP_WORDS=(adamtune show hou) COMP_CWORD=2
_adamtune_completion adamtune
echo "${COMPREPLY[@]}"
"""
    path = f"{tmp_path}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=os.environ | {"PATH": path}, check=False
    )
    assert ended.stdout == "houses houses/20260102-101010-abcd\n", ended.stderr
