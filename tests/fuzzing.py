"""What people, files and other programs hand to adamtune, valid, nearly valid and not at all, and what may come of it.

An `Entrance` takes an input or refuses it with an `AdamTuneError` that says what is wrong, in few words. Whatever else
is raised is a mistake of ours. `ENTRANCES` has them all; tests/test_fuzz.py tries a few hundred inputs of each, and
studies/durability/fuzz.py as many as asked for.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import numpy as np
import sqlalchemy
from hypothesis import strategies as st

from adamtune import optimizers
from adamtune.config import Found, OptimizerConfig
from adamtune.errors import AdamTuneError, ConfigError, StorageError
from adamtune.optimizers import gradients, schedules
from adamtune.recommending import exchange, portfolio, store
from adamtune.recommending.describing import Description
from adamtune.recommending.evidence import Source
from adamtune.recommending.features import Features
from adamtune.tasks import data, splits
from adamtune.tasks.tables import read_table
from adamtune.tuning.storage import Discreet, redact, resolve_url

# Longer than any message has to be, shorter than what a terminal scrolls away.
MOST = 2_000


@dataclass(frozen=True)
class Entrance:
    """A way into adamtune: inputs to try, and what takes one or raises."""

    name: str
    inputs: st.SearchStrategy
    take: Callable[[Any], None]


def answer(entrance: Entrance, given: Any) -> str:
    """ "accepted" or "refused"; what is neither is raised."""
    try:
        entrance.take(given)
    except AdamTuneError as error:
        if not 0 < len(str(error).strip()) <= MOST:
            raise AssertionError(f"a message of {len(str(error))} characters") from error
        return "refused"
    return "accepted"


# ------------------------------------------------------------------------------------------------------------ mutations


@st.composite
def edited(draw: Any, text: Any, more: Any) -> Any:
    """A text, or bytes, with a few pieces cut out, doubled or put in; `more` draws what is put in."""
    for _ in range(draw(st.sampled_from([1, 1, 2, 4]))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 1, 1, 2, 8, 1000])))
        piece = draw(st.sampled_from([text[:0], text[start:end] * 2]) | more)
        text = text[:start] + piece + text[end:]
    return text


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    """All (container, key) of plain data."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


@st.composite
def near(draw: Any, document: Any, values: Any) -> Any:
    """Plain data with a few of its values replaced, removed or added."""
    whole = [json.loads(json.dumps(document))]
    places = list(_places(whole))  # of what is put in nothing is changed: several inputs share it
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 5]))):
        container, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "add"]))
        if change == "replace":
            container[key] = draw(values)
        elif isinstance(container, list):
            container.append(draw(values))
        else:
            value = draw(values) if change == "add" else container.pop(key, None)
            if change != "remove":
                container[draw(st.sampled_from(NAMES) | st.text(max_size=8) | st.just("x" * 100_000))] = value
    return whole[0]


def deep(depth: int, inner: Any = 1) -> Any:
    """Lists in lists."""
    for _ in range(depth):
        inner = [inner]
    return inner


HYPERS = {hyper.name for name in optimizers.names() for hyper in optimizers.get(name).searchable}
OPTIONS = [option.name for option in gradients.OPTIONS]
FIELDS = ["schema", "optimizer", "schedule", "hypers", "options", "found", "epochs", "batch_size", "steps"]
NAMES = sorted({*HYPERS, *OPTIONS, *FIELDS, "self", "cls", "__class__", "__init__", "values", "rule", ""})
WORDS = [*optimizers.names(), *schedules.names(), *NAMES]
NUMBERS = st.integers() | st.floats() | st.floats(0, 1) | st.sampled_from([10**308, 10**400, -(10**400), 5e-324, -0.0])
PLAIN = st.none() | st.booleans() | NUMBERS | st.text(max_size=8) | st.sampled_from(WORDS)
# What JSON can hold; a number of more than 4,300 digits only other programs can.
ODD = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), inner),
    max_leaves=6,
) | st.sampled_from(["x" * 100_000, "\ud800", "\0", [0] * 10_000, deep(200), {"a": deep(200)}])
OBJECTS = ODD | st.sampled_from([10**5000, [10**5000], {1: 2}, {None: 10**5000}, deep(3_000), b"\xff", 1j, {1}, ...])

# What no data becomes when it is written, but a text may hold. It stands in for a text of this name in the data.
RAW = {
    f"\0{number}": text
    for number, text in enumerate(
        [
            "NaN",
            "-Infinity",
            "1e400",
            "9" * 400,
            "9" * 5_000,
            "[" * 100_000,
            "[" * 900 + "]" * 900,
            '{"a":' * 500 + "1" + "}" * 500,
            r'"\ud800"',
            r'"\u0000"',
            '"open',
            '{"a": 1, "a": 2}',
            '1, "schema": 2, "optimizer": "sgd", "hypers": {}',
            "01",
            "",
        ]
    )
}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]


@st.composite
def written(draw: Any, document: Any) -> bytes:
    """Nearly a document as the bytes of a JSON file."""
    text = json.dumps(draw(near(document, ODD | st.sampled_from(list(RAW)))))
    for name, raw in RAW.items():
        text = text.replace(json.dumps(name), raw)
    if draw(st.integers(0, 3)) == 0:
        text = draw(edited(text, st.text(max_size=4) | st.sampled_from([*RAW.values(), *'{}[]",:'])))
    content = text.encode(draw(st.sampled_from(["utf-8"] * 5 + ENCODINGS)), "replace")
    return draw(edited(content, st.binary(max_size=4))) if draw(st.integers(0, 5)) == 0 else content


# -------------------------------------------------------------------------------------------------------------- configs

_LEGAL = {
    "log": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    "complement": st.floats(min_value=0, max_value=1, exclude_max=True),
    "flag": st.booleans(),
    "count": st.integers(1, 2**31),
}
_OPTIONS = [
    {},
    {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 2, "loss_scale_factor": 8.0},
]


def numbers(hyper: Any) -> st.SearchStrategy:
    """Any legal value."""
    legal = _LEGAL[hyper.scale]
    if hyper.most < np.inf:
        legal = st.floats(min_value=0, exclude_min=True, max_value=hyper.most)
    return legal | st.just(0.0) if hyper.zero else legal


@st.composite
def configs(draw: Any) -> OptimizerConfig:
    """Any legal config."""
    rule = optimizers.get(draw(st.sampled_from(optimizers.names())))
    schedule = draw(st.sampled_from([None, *schedules.names()]))
    moving = schedules.get(schedule).hypers if schedule else ()
    around = draw(st.sampled_from([(), *((hyper,) for hyper in gradients.CLIPS)]))
    has_decay = "weight_decay" in [hyper.name for hyper in rule.hypers]
    around += () if has_decay else (gradients.WEIGHT_DECAY,)
    given_hypers = draw(st.sets(st.sampled_from((*rule.hypers, *moving, schedules.WARMUP, *around))))
    values = {hyper.name: draw(numbers(hyper)) for hyper in given_hypers}
    options = draw(st.sampled_from([each for each in _OPTIONS if not (rule.averaged and "use_ema" in each)]))
    counts = st.integers(1, 10**9)
    found = draw(st.none() | st.builds(Found, counts, counts, counts))
    return OptimizerConfig(rule.name, schedule=schedule, found=found, **values, **options)


@st.composite
def nearly_configs(draw: Any) -> tuple[str, Any]:
    """A way to make a config, and what it is made of."""
    way = draw(st.sampled_from(["call", "from_dict", "from_json"]))
    config = draw(configs()).to_dict()
    if way == "from_json":
        text = draw(written(config))
        return way, draw(st.sampled_from([text, text.decode(errors="replace")]))
    if way == "from_dict":
        return way, draw(st.one_of(near(config, ODD), near(config, OBJECTS), near(config, OBJECTS), OBJECTS))
    parts = {name: config[name] for name in ("optimizer", "schedule")} | config["hypers"] | config.get("options", {})
    value = draw(near(parts | draw(st.sampled_from([{}, {"found": None}])), OBJECTS))
    is_call = isinstance(value, dict) and "optimizer" in value and all(isinstance(name, str) for name in value)
    return (way, value) if is_call else ("from_dict", value)


_WATCHED = {"exec", "compile", "open", "os.system", "subprocess.Popen", "pickle.find_class", "socket.connect"}
_done: list[str] | None = None


def _watch(event: str, arguments: tuple) -> None:
    if _done is not None and event in _WATCHED:
        _done.append(event)


sys.addaudithook(_watch)  # never to be removed, but silent while nobody looks


@contextlib.contextmanager
def nothing_is_done() -> Iterator[None]:
    """A block in which nothing may be imported, executed or opened."""
    global _done
    _done = done = []
    try:
        yield
    finally:
        _done = None
    assert not done, done


def take_config(given: tuple[str, Any]) -> None:
    way, value = given
    with nothing_is_done():
        if way == "from_json":
            config = OptimizerConfig.from_json(value)
        elif way == "from_dict":
            config = OptimizerConfig.from_dict(value)
        else:
            config = OptimizerConfig(**value)
        assert OptimizerConfig.from_json(config.to_json()) == config
        assert OptimizerConfig.from_dict(config.to_dict()) == config
        assert len(repr(config)) <= MOST
    with contextlib.suppress(ConfigError):
        config.row()


# ----------------------------------------------------------------------------------------------------------------- URLs

SCHEMES = ["postgresql", "postgres", "mysql", "mariadb", "sqlite", "oracle", "redis", "POSTGRESQL", "", "é"]
DRIVERS = [
    "",
    "+psycopg",
    "+pymysql",
    "+asyncpg",
    "+pysqlite",
    "+base",
    "+json",
    "+types",
    "+a+b",
    "+",
    "+é",
    "+nothing",
]
KEYS = ["password", "sslpassword", "PASSWORD", "%70assword", "pass%77ord"]
# Letters of which secrets are made, and nothing else that is drawn for a URL.
LETTERS = "QXZJqxzj"
SECRETS = st.text(st.sampled_from(LETTERS), min_size=6, max_size=12)
CHARACTERS = st.text(
    st.sampled_from("a0:/@?&=#%[]{}+.~\\ \n\0é\ud800") | st.characters(exclude_characters=LETTERS), max_size=6
)


@dataclass(frozen=True)
class Url:
    """A text that may be a URL, and the secret that stands where a secret stands in one."""

    text: str
    secret: str = ""


def _without(*characters: str) -> st.SearchStrategy:
    return CHARACTERS.map(lambda text: "".join(each for each in text if each not in characters))


@st.composite
def urls_with_secrets(draw: Any) -> Url:
    secret = draw(SECRETS)
    scheme = draw(st.sampled_from([*SCHEMES[:5] * 3, *SCHEMES])) + draw(st.sampled_from([*[""] * 12, *DRIVERS]))
    where = draw(st.sampled_from(["password", "query", "both"]))
    login = draw(st.sampled_from(["", "ada@", ":@", "ada:x@"]))
    if where != "query":
        user = draw(st.sampled_from(["ada", "", "ada@host", "[", "a%40b"]) | _without(":", "/"))
        login = f"{user}:{draw(_around(secret, CHARACTERS))}@"
    host = draw(st.sampled_from(["host", "", "[::1]", "10.0.0.1", "host:5432", "host:54x2", "[::1]:1"]))
    database = draw(
        st.sampled_from(["", "/", "/studies", "//tmp/a.db", "/:memory:"]) | _without("@", "?").map("/".__add__)
    )
    others = draw(st.sampled_from(["", "sslmode=require", "x", "&", "a=b=c"]))
    query = f"?{others}" if others else ""
    if where != "password":
        value = draw(_around(secret, _without("&")))
        query = f"?{others}&" * bool(others) or "?"
        query += f"{draw(st.sampled_from(KEYS))}={value}" + draw(st.sampled_from(["", "&a=b", "&token=x&"]))
    return Url(f"{scheme}://{login}{host}{database}{query}", secret)


@st.composite
def _around(draw: Any, secret: str, characters: Any) -> str:
    """A password that holds the secret, as URLs write it or as people do."""
    before, after = draw(characters), draw(characters)
    as_urls = draw(st.booleans())
    before, after = (quote(each, "", errors="replace") if as_urls else each for each in (before, after))
    return before + secret + after


@st.composite
def nearly_urls(draw: Any) -> Url:
    """Texts without a secret, or with one that may stand anywhere."""
    text = draw(urls_with_secrets()).text
    files = st.sampled_from(["memory", "", "~", "~nobody/a.db", "a.db", "~\0.db", "/tmp/ü?.sqlite3", "sqlite:///~/a"])
    text = draw(st.just(text) | files)
    return Url(draw(edited(text, CHARACTERS)))


def take_url(given: Url) -> None:
    def hidden(shown: str) -> None:
        assert not given.secret or given.secret not in shown, f"the secret is shown: {shown!r}"

    discreet = Discreet.of(given.text)
    assert discreet == given.text
    for shown in (redact(given.text), repr(discreet), repr(pickle.loads(pickle.dumps(discreet)))):
        hidden(shown)
    try:
        url = resolve_url(given.text)
    except StorageError as error:
        link: BaseException | None = error
        while link is not None:
            hidden(f"{link} {link!r} {link.args}")
            link = link.__cause__ or link.__context__
        raise
    assert isinstance(url, str)
    hidden(redact(url))


# --------------------------------------------------------------------------------------------------------------- tables

# A small file of Parquet: numbers with a gap, text, labels.
PARQUET = base64.b64decode("""
UEFSMRUAFTwVPCwVCBUAFQYVBhwAAAACAAAAAwsAAAAAAIA/QAAAAAAAADZAAAAAAAAAREAVABU0FTQsFQgVABUGFQYcAAAAAgAA
AAgBAQAAAG0BAAAAZgEAAABmAQAAAG0VABVMFUwsFQgVABUGFQYcAAAAAgAAAAgBAAAAAAAAAAABAAAAAAAAAAEAAAAAAAAAAAAA
AAAAAAAVBBlMNQAYBnNjaGVtYRUGABUKJQIYA2FnZQAVDCUCGANzZXglAEwcAAAAFQQlAhgBeQAWCBkcGTwmABwVChklBgAZGANh
Z2UVABYIFmIWYiYISRwVABUAFQIAPCkGGSYCBgAAACYAHBUMGSUGABkYA3NleBUAFggWWhZaJmpJHBUAFQAVAgA8FggZBhkmAAgA
AAAmABwVBBklBgAZGAF5FQAWCBZyFnImxAFJHBUAFQAVAgA8KQYZJgAIAAAAFq4CFggmCBauAgAoIHBhcnF1ZXQtY3BwLWFycm93
IHZlcnNpb24gMjYuMC4xGTwcAAAcAAAcAAAA9wAAAFBBUjE=
""")
GAPS = ["", "", "?", "NA", "nan", "-", "None"]
TEXT = "abc 0123456789.-:#'%éß日\x00\x1a\x7f\u2028\U0001f994"
CELLS: dict[str, Callable[[Random], str]] = {
    "whole": lambda random: str(random.randint(-5, 30)),
    "labels": lambda random: random.choice("01"),
    "classes": lambda random: random.choice(["red", "blue", "grün", "日本", "a b", '"a,b"', '"a\nb"', "it's"]),
    "floats": lambda random: repr(random.gauss(0, 10)),
    "amounts": lambda random: repr(random.uniform(-1, 1) * 10 ** random.randint(-320, 308)),
    "huge": lambda random: random.choice(
        ["1e400", "9" * 400, "9" * 5_000, "1e308", "-1e39", str(2**63), str(2**64), "1e19"]
    ),
    "same": lambda random: "5",
    "bools": lambda random: random.choice(["True", "False", "TRUE", "yes"]),
    "dates": lambda random: random.choice(
        [f"2020-{random.randint(0, 13)}-{random.randint(0, 32)}", "31.12.2020 10:00"]
    ),
    "mixed": lambda random: random.choice(["1", "1.0", "a", "True", '"1,5"', "1e5", "0x10", "1_000", "1+2j", "-inf"]),
    "text": lambda random: "".join(random.choices(TEXT, k=random.randint(0, 8))),
    "long": lambda random: random.choice(["x" * 3_000, "y" * 3_000, "z"]),
}
HEADERS = ["x1", "x2", "x3", "x4", "a b", " y", "", "y", "1", "Unnamed: 0", "ü", '"a,b"', "x" * 3_000, "\ufeffy", "y.1"]
PIECES = [b"\0", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b",", b"\x1a", b"y", b"1", b"e", b"-", b".", b"nan"]


@dataclass(frozen=True)
class File:
    """A file that is given to `adamtune tune`, and its column to predict."""

    name: str
    content: bytes
    target: str


def _text_of_table(random: Random) -> str:
    """A table, most often with a column y, that may have lines too short or too long, and some gaps."""
    separator = random.choice(",,,,,,,,;;\t |")
    end = random.choice(["\n", "\n", "\n", "\r\n", "\r"])
    n_columns, n_rows = random.randint(1, 4), random.choice([0, 1, 2, 5, 20, 20, 20, 20, 60])
    names = random.sample(HEADERS[:4], n_columns) if random.random() < 0.8 else random.choices(HEADERS, k=n_columns)
    names += ["y"] if random.random() < 0.9 else []
    kinds = random.choices(list(CELLS), [6] * 4 + [1] * (len(CELLS) - 4), k=len(names))
    lines = [names, *([CELLS[kind](random) for kind in kinds] for _ in range(n_rows))]
    for line in lines[1:]:
        if random.random() < 0.05:
            line[random.randrange(len(line))] = random.choice(GAPS)
    if random.random() < 0.05:
        random.choice(lines).append("1")
    if random.random() < 0.05:
        random.choice(lines).pop()
    return end.join(separator.join(line) for line in lines) + random.choice(["", end, end, end * 3])


@st.composite
def files(draw: Any) -> File:
    # One seed for all but the changed bytes: tables of cells that are drawn one by one take ten times as long.
    random = draw(st.randoms(use_true_random=True))
    target = "y" if random.random() < 0.9 else random.choice(["x1", "", "z", "y.1", "x" * 3_000, "\0"])
    content = _text_of_table(random).encode(random.choice(["utf-8"] * 60 + ENCODINGS), "replace")
    name = random.choice(["a.csv"] * 6 + ["a.csv.gz", "a.tsv", "a.TSV.gz"])
    if random.random() < 0.2:
        content, name = PARQUET, random.choice(["a.parquet"] * 9 + [name])
    if random.random() < 0.05:
        content = draw(st.binary(max_size=200))
    if random.random() < 0.02:
        name = random.choice(["a.parquet", "a.txt", "a", ".csv"])
    pieces = st.binary(max_size=4) | st.sampled_from(PIECES)
    if random.random() < 0.3:
        content = draw(edited(content, pieces))
    if name.endswith(".gz") and random.random() < 0.9:
        content = gzip.compress(content, mtime=0)
        if random.random() < 0.3:
            content = draw(edited(content, pieces))
    return File(name, content, target)


def take_file(given: File) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)  # numbers that numpy could not hold
        path = Path(folder, given.name)
        path.write_bytes(given.content)
        table = read_table(path, given.target)
    assert len(table.x) == len(table.y) and table.x.shape[1] == len(table.features)
    assert all(len(sentence) <= MOST for sentence in table.said)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        rows = data.prepare(table.x, table.y, kind=table.kind, scale_targets=True)
        assert np.isfinite(rows.y).all()
        splits.split(rows, 0.2, 0)


# ------------------------------------------------------------------------------------------------------------ documents

SEEN = Features(False, n_rows=800, n_inputs=10, n_outputs=2, batch_size=32, epochs=8, n_weights=5000, depth=3, width=64)
TRIED = [
    OptimizerConfig("adam"),
    OptimizerConfig("sgd", learning_rate=0.1, momentum=0.9, nesterov=True),
    OptimizerConfig("adamw", schedule="cosine", final=0.01, hold=0.25, warmup=0.05, clipnorm=1.0, use_ema=True),
]


def _entry(name: str, *losses: float | None) -> store.Entry:
    source = Source(name, "table-classification", "tables", f"data of {name}", SEEN, f"fingerprint of {name}")
    tried = [store.Evaluation(config, loss, loss, 2, "a list") for config, loss in zip(TRIED, losses, strict=False)]
    return store.Entry(source, 1.0, tuple(tried), None)


def exported(entries: list[store.Entry], name: str = "lab.json") -> bytes:
    """The file that `adamtune store export` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        exchange.export(entries, path)
        return path.read_bytes()


STORE = json.loads(exported([_entry("one", 0.5, 0.25, None), replace(_entry("other", 0.75), study_name="a study")]))


@st.composite
def documents(draw: Any) -> tuple[str, bytes]:
    """A file of `export --to json` or of `store export`, and which of them."""
    if draw(st.booleans()):
        return "config", draw(written(draw(configs()).to_dict()))
    content = draw(written(STORE))
    name = draw(st.sampled_from(["lab.json", "lab.json", "lab.json.gz"]))
    if name.endswith(".gz") and draw(st.integers(0, 9)):
        content = gzip.compress(content, 1, mtime=0)
        if draw(st.integers(0, 2)) == 0:
            content = draw(edited(content, st.binary(max_size=4)))
    return name, content


def take_document(given: tuple[str, bytes]) -> None:
    name, content = given
    if name == "config":
        config = OptimizerConfig.from_json(content)  # type: ignore[arg-type]  # json takes both
        assert OptimizerConfig.from_json(config.to_json()) == config
        for framework in ("keras", "torch", "optax"):
            with contextlib.suppress(ConfigError):
                assert isinstance(config.to_code(1000, framework), str)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        entries = exchange.read_file(path)
        exchange.export(entries, path)
        assert exchange.read_file(path) == entries
    engine = sqlalchemy.create_engine("sqlite://")
    try:
        store.add(engine, entries)
        kept = store.read(engine)
        assert {each.source.fingerprint for each in kept} == {each.source.fingerprint for each in entries}
        for each in entries[:1]:
            source = each.source
            described = Description(source.kind, source.features, source.fingerprint, source.data)
            found = portfolio.choose(store.evidence(kept), described, 5, {})
            assert found.explain() and json.dumps(found.to_dict())
    finally:
        engine.dispose()


ENTRANCES = {
    entrance.name: entrance
    for entrance in (
        Entrance("configs", nearly_configs(), take_config),
        Entrance("database URLs", urls_with_secrets() | nearly_urls(), take_url),
        Entrance("tables", files(), take_file),
        Entrance("JSON files", documents(), take_document),
    )
}
