"""The command lines in the documentation: what is quick runs as it stands there, of the rest every option is known.

Found are the lines of sh, bash and console blocks, indented lines that begin with one of these programs, and
`adamtune ...` and `make ...` in running text. A line of another kind fails here until it is told how to check it. The
Python in the documentation is not looked at.
"""

import itertools
import json
import pathlib
import re
import shlex
import subprocess
import tomllib
from dataclasses import dataclass

import pytest
import typer

from adamtune import cli
from adamtune.config import OptimizerConfig
from adamtune.tuning import study
from tests import shell

ROOT = pathlib.Path(__file__).parents[1]
PAGES = ["README.md", "docs/*.md", "examples/README.md", "dashboards/README.md", "studies/*/README.md"]
PROGRAMS = ["adamtune", "make", "pip", "python"]
# Verbs that are not run here, and why. That their options and arguments parse is checked.
NOT_RUN = {
    "dashboard": "serves until Ctrl-C; the tests of adamtune.dashboard open it",
    "demo": "trains for a minute; test_cli.py runs it with few trials",
    "worker": "joins a study that another process has begun; test_workers.py does that",
}
# What is given beside what the line says, to be quick.
QUICKLY = {"tune": ["--n-trials", "2", "--epochs", "1"]}
# What stands for something of the reader's.
MEANT = {"STUDY": "mine", "NAME": "adamw", "KIND": "table-regression", "COL": "price"}
# A FILE is another after each of these words.
FILES = {"import": "learned.json", "export": "mine.json", "-o": "mine.html", "tune": "a.csv", "recommend": "a.csv"}
# Of every framework that `export` knows, one that all of them have.
EXPORTED = OptimizerConfig("adam", learning_rate=0.01, epsilon_after_correction=True)


@dataclass(frozen=True)
class Line:
    """A command line, and what the comment behind it says."""

    page: str
    text: str
    comment: str = ""

    def __str__(self):
        return f"{self.page}: {self.text}"


def found(page, text):
    """The command lines of a page, in its order."""
    language = None
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if fence := re.match(r" *```(\w*)", line):
            language = None if language is not None else fence[1]
        elif language in ("sh", "bash", "shell", "console"):
            if language != "console" or line.startswith("$ "):
                yield from parted(page, line.removeprefix("$ "))
        elif language is None and re.match(rf" {{4,}}(\$ )?(\w+=\S* )*({'|'.join(PROGRAMS)}) ", line):
            yield from parted(page, line.strip().removeprefix("$ "))
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`((?:adamtune|make) [^`]+)`", prose):
        yield Line(page, " ".join(code.split()))


def parted(page, text):
    """The line without its comment; nothing where it is all comment."""
    code, _, comment = re.sub(r"\s+#", "\0", f" {text}", count=1).partition("\0")
    if code.strip():
        yield Line(page, code.strip(), comment.strip())


def pages():
    return [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]


LINES = list(
    dict.fromkeys(
        line for path in pages() for line in found(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    )
)


def variants(text):
    """A line as it can be meant: of ours, [this] may be left out, and of a|b there is one."""
    ours = "adamtune " in text
    for chosen in {re.sub(r"\s*\[[^]]*\]", "", text), re.sub(r"\[([^]]*)\]", r"\1", text)} if ours else {text}:
        words = shlex.split(chosen)
        while "=" in words[0]:
            words = words[1:]
        words = list(itertools.takewhile(lambda word: word not in ("|", ">", ">>", "&&", "&", ";"), words))
        yield from map(list, itertools.product(*(word.split("|") for word in words)))


def command(words):
    """The verb's own command, and its words."""
    found = typer.main.get_command(cli.app)
    while hasattr(found, "commands"):
        assert words and words[0] in found.commands, f"there is no verb {' '.join(words)!r}"
        found, words = found.commands[words[0]], words[1:]
    return found, words


# ---------------------------------------------------------------------------------------------------- what is run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder to run in, with a file of what was learned."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "learned.json").write_text(json.dumps({"adamtune_store": 1, "tasks": []}))
    return tmp_path


def runs(words, home):
    """Run a line of ours, with what stands for something of the reader's filled in."""
    after = zip(["", *words], words, strict=False)
    verb, *rest = [FILES[before] if word == "FILE" else MEANT.get(word, word) for before, word in after]
    for word in rest:
        if word.endswith((".csv", ".tsv")):
            target = rest[rest.index("--target") + 1]
            between = "," if word.endswith(".csv") else "\t"
            rows = [(target, "rooms", "street"), *((20 * n % 37 + n / 4, n % 7, "abc"[n % 3]) for n in range(60))]
            (home / word).write_text("\n".join(between.join(map(str, row)) for row in rows))
    if verb in ("studies", "show", "export", "report"):
        name = rest[0] if rest else "mine"
        with shell.database() as opened:
            if name not in study.names(opened):
                shell.confirmed(shell.add_study(opened, name, config=EXPORTED), config=EXPORTED)
    return shell.run(verb, *rest, *QUICKLY.get(verb, []))


def check_adamtune(words, line, home):
    if words[0].startswith("-"):  # not run: --install-completion would write into the shell of who runs this
        assert set(words) <= {name for option in typer.main.get_command(cli.app).params for name in option.opts}
        return
    verb, rest = command(words)
    options = {name for parameter in verb.params for name in parameter.opts}
    assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", line.comment)) <= options
    if words[0] in NOT_RUN:
        try:
            verb.make_context(words[0], rest).close()
        except Exception as error:
            raise AssertionError(f"{line}: {error}") from error
        return
    ended = runs(words, home)
    assert ended.exit_code == 0, ended.output
    assert ended.stdout


def check_make(words, line, home):
    ended = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def check_pip(words, line, home):
    """What is installed is there: extras of ours, and files of requirements."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word, after in itertools.pairwise([*words, ""]):
        assert word != "-r" or (ROOT / after).exists()
        if named := re.fullmatch(r"(?:\.|adamtune)\[(.*)\]", word):
            assert set(named[1].split(",")) <= set(extras)


def check_python(words, line, home):
    """A script is there, and knows the options; the longest of them train for hours."""
    if words[:2] == ["-m", "adamtune"]:
        check_adamtune(words[2:], line, home)
        return
    script = ROOT / words[0]
    known = "".join(path.read_text(encoding="utf-8") for path in script.parent.glob("*.py"))
    assert script.exists()
    for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", " ".join(words)):
        assert f'"{option}"' in known, option


@pytest.mark.parametrize("line", LINES, ids=str)
def test_a_documented_line_works(line, home):
    for program, *words in variants(line.text):
        check = globals().get(f"check_{program}")
        assert check, (
            f"{program!r} in {line.page} is no program that this test knows: tell it how to check a line of it"
        )
        check(words, line, home)


# ------------------------------------------------------------------------------------------------ and it can fail

PAGE = """
Text with `adamtune show
X` and `adamtune.load`, `make it`.

    adamtune tune a.csv --target b  # comment --cv
    adamtune/hypers.py  the ground
    $ KEY=1 python x.py --quick \\
        --again

```sh
# a comment alone
git clone it # why
```
```python
    adamtune none
```
```console
$ adamtune doctor
adamtune none
```
"""


def test_every_kind_of_line_is_found():
    assert list(found("p", PAGE)) == [
        Line("p", "adamtune tune a.csv --target b", "comment --cv"),
        Line("p", "KEY=1 python x.py --quick --again"),
        Line("p", "git clone it", "why"),
        Line("p", "adamtune doctor"),
        Line("p", "adamtune show X"),
        Line("p", "make it"),
    ]
    assert {line.page for line in LINES} >= {"README.md", "studies/speed/README.md"}
    assert {line.text.split()[0] for line in LINES} >= {"adamtune", "make", "pip", "python"}


@pytest.mark.parametrize(
    "text",
    [
        "adamtune export STUDY --to keras|torch|optax|json",
        "adamtune report STUDY -o FILE --format md",
        "adamtune store export FILE",
        "adamtune store import FILE",
        "adamtune recommend FILE --target COL",
        "adamtune recommend --task KIND | head -3",
        "adamtune --install-completion",
        "python -m adamtune dashboard --storage sqlite:///runs.db --port 0",
    ],
)
def test_words_in_capitals_stand_for_something(text, home):
    test_a_documented_line_works(Line("p", text), home)


def test_alternatives_are_all_tried():
    tried = {" ".join(words) for words in variants("A=1 adamtune export X --to keras|torch [-o FILE] > a | b")}
    assert tried == {f"adamtune export X --to {to}{file}" for to in ("keras", "torch") for file in ("", " -o FILE")}


@pytest.mark.parametrize(
    "line",
    [
        Line("p", "git clone it"),
        Line("p", "adamtune shwo STUDY"),
        Line("p", "adamtune store status"),
        Line("p", "adamtune --instal-completion"),
        Line("p", "adamtune show STUDY --jsn"),
        Line("p", "adamtune dashboard --prot 1"),
        Line("p", "adamtune demo STUDY"),
        Line("p", "adamtune studies", "also --lmit 3"),
        Line("p", "make nothing"),
        Line("p", "pip install '.[jacks]'"),
        Line("p", "pip install -r nowhere.txt"),
        Line("p", "python studies/nowhere.py"),
        Line("p", "python studies/speed/speed.py --qiuck"),
    ],
    ids=str,
)
def test_a_line_that_does_not_work_fails(line, home):
    with pytest.raises(AssertionError):
        test_a_documented_line_works(line, home)
