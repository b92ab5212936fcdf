"""Every entrance with a few hundred inputs, and what earlier ones broke; studies/durability/fuzz.py tries more."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import hypothesis
import numpy as np
import pytest

from adamtune.config import Found, OptimizerConfig
from adamtune.errors import ConfigError, DataError, StorageError
from adamtune.recommending import exchange
from adamtune.tasks import data
from adamtune.tasks.tables import read_table
from adamtune.tuning.storage import redact, resolve_url
from tests.fuzzing import ENTRANCES, PARQUET, STORE, answer

TOO_LONG = 10**5000  # Python refuses to write so many digits


@pytest.mark.parametrize("name", ENTRANCES)
def test_every_input_is_accepted_or_refused_in_words(name):
    counts = Counter()

    @hypothesis.settings(
        max_examples=300,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(ENTRANCES[name].inputs)
    def try_one(given):
        counts[answer(ENTRANCES[name], given)] += 1

    try_one()
    assert counts["accepted"] > 20 and counts["refused"] > 20  # else it tries too little of either


# -------------------------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize(
    "data",
    [
        {"learning_rate": TOO_LONG},
        {"learning_rate": [TOO_LONG]},
        {"use_ema": TOO_LONG},
        {"schedule": {"a": TOO_LONG}},
        {"found": TOO_LONG},
    ],
)
def test_a_number_too_long_to_be_written_is_refused(data):
    with pytest.raises(ConfigError, match="a whole number of 16610 bits"):
        OptimizerConfig("adam", **data)


def test_a_scale_beyond_floats_is_refused():
    text = OptimizerConfig("adam", loss_scale_factor=8.0).to_json()
    with pytest.raises(ConfigError, match="loss_scale_factor=1000"):
        OptimizerConfig.from_json(text.replace("8.0", str(10**400)))


@pytest.mark.parametrize("name", ["gradient_accumulation_steps", "ema_overwrite_frequency"])
def test_a_count_that_no_program_can_hold_is_refused(name):
    with pytest.raises(ConfigError, match=rf"{name}=9223372036854775808 .* below 2\*\*63"):
        OptimizerConfig("adam", use_ema=True, **{name: 2**63})


def test_a_training_of_more_updates_than_any_is_refused():
    with pytest.raises(ConfigError, match=r"below 2\*\*63"):
        Found(1, 1, 10**400)
    assert OptimizerConfig("adam", warmup=0.5, found=Found(1, 1, 2**63 - 1)).row()


# ----------------------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize("path", ["~nobody-of-that-name/a.db", "~.db", "~\0/a.db"])
def test_a_home_that_is_not_there_is_refused(path):
    with pytest.raises(StorageError, match="home folder of a user that does not exist"):
        resolve_url(path)


@pytest.mark.parametrize("text", ["sqlite:///\udcff", "\udcff.db", "mysql://ada:s3cret\udcff@host/studies"])
def test_what_is_no_unicode_is_refused_without_the_password(text):
    with pytest.raises(StorageError, match="is no text in UTF-8") as caught:
        resolve_url(text)
    assert "s3cret" not in str(caught.value) and caught.value.__context__ is None


@pytest.mark.parametrize("scheme", ["mysql+json", "mysql+types", "postgresql+a+b", "sqlite+a+b"])
def test_what_is_named_as_a_driver_and_is_none_is_refused(scheme):
    with pytest.raises(StorageError, match="needs the driver"):
        resolve_url(f"{scheme}://ada:s3cret@host/studies")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        # A server of Azure has such users.
        ("postgresql://ada@server:s3cret@host/studies", "postgresql://ada@server:***@host/studies"),
        ("postgresql://[ada:s3cret@host/studies", "postgresql://[ada:***@host/studies"),
        ("postgresql://ada:s3cret@host/studies?password=s3@cret", "postgresql://ada:***@***"),
        ("postgresql://host/a&b=c?password=s3cret", "postgresql://host/a&b=c?password=***"),
        ("postgresql://host/" + "?a=" * 5_000 + "?token=s3cret", "postgresql://host/" + "?a=" * 5_000 + "?token=***"),
    ],
)
def test_a_password_is_hidden_whatever_stands_before_and_behind(url, shown):
    assert redact(url) == shown


# --------------------------------------------------------------------------------------------------------------- tables


@pytest.fixture
def table(tmp_path):
    def table(text, name="a.csv", target="y"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_table(path, target)

    return table


def test_a_whole_number_beyond_floats_is_a_gap(table):
    found = table(f"x,y\n1,0\n{'9' * 400},1\n3,0\n")
    np.testing.assert_array_equal(found.x[:, 0], [1, 2, 3])
    assert found.said == ["Filled 1 missing number by the median: x."]


def test_whole_floats_that_int64_does_not_hold_are_amounts(table):
    found = table("x,y\n1,1e300\n2,2e300\n3,1e300\n")
    assert found.kind == "regression"
    assert found.y.tolist() == [1e300, 2e300, 1e300]


def test_targets_too_large_to_be_standardised_are_refused():
    x, y = np.arange(6.0)[:, None], np.array([1e300, 2e300, 3e300, -1e300, 0.5, 1.0])
    with pytest.raises(DataError, match=r"numbers of up to 3e\+300, too large"):
        data.prepare(x, y, scale_targets=True)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_largest_numbers_of_all_are_read_without_a_warning(table):
    table("x,y\n1e308,0\n1.1e308,1\n,0\n")


@pytest.mark.parametrize(
    "text",
    [
        f"x,{'y' * 5_000}\n1,2\n",
        f"{'x' * 5_000},y\n1,0\n1,1\n",
        "x,y\n1,0\n" + f"{'?' * 5_000},1\n" + "1,0\n" * 20,
        f"{'x' * 5_000},y\n",
    ],
    ids=["target", "column", "value", "header"],
)
def test_a_message_is_short_though_names_are_long(text, table):
    with pytest.raises(DataError) as caught:
        table(text)
    assert len(str(caught.value)) < 400


def test_a_label_too_long_for_a_message_is_cut():
    with pytest.raises(DataError, match="one class only") as caught:
        data.prepare(np.arange(4.0)[:, None], np.array(["a" * 5_000] * 4))
    assert len(str(caught.value)) < 300


def test_a_parquet_file_that_is_called_a_csv_is_refused_in_words(table):
    with pytest.raises(DataError, match=r"no table|not UTF-8|several columns|no column"):
        table(PARQUET, "people.csv")


# ----------------------------------------------------------------------------------------------------------- JSON files


@pytest.fixture
def read(tmp_path):
    def read(document):
        path = tmp_path / "lab.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return exchange.read_file(path)

    return read


def changed(field, value, **features):
    task = STORE["tasks"][0]
    return STORE | {"tasks": [task | {field: value} if field else task | {"features": task["features"] | features}]}


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "x" * 65])
def test_a_text_that_no_database_holds_is_refused(read, text):
    with pytest.raises(StorageError, match=r"task 0 is damaged: kind=.*expected a text of at most 64 characters"):
        read(changed("kind", text))


@pytest.mark.parametrize("name", ["batch_size", "n_rows", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 0.5, 1e300])
def test_a_task_without_rows_or_steps_is_refused(read, name, value):
    with pytest.raises(StorageError, match=rf"task 0 is damaged: {name}=.*at least 1"):
        read(changed(None, None, **{name: value}))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (changed("untrained", "x" * 100_000), "expected a finite number"),
        (changed("features", {"x" * 100_000: 1}), "expected numbers for"),
        (changed("evaluations", 7), "evaluations=7, expected a list"),
        (STORE | {"tasks": [{}]}, "the field 'name' is missing"),
    ],
    ids=["number", "features", "evaluations", "missing"],
)
def test_a_damaged_field_is_named_in_few_words(read, document, says):
    with pytest.raises(StorageError, match=says) as caught:
        read(document)
    assert len(str(caught.value)) < 500


def test_a_study_of_the_longest_name_is_carried(tmp_path, read):
    (entry,) = read(STORE | {"tasks": STORE["tasks"][:1]})
    longest = replace(entry, study_name="s" * 512, source=replace(entry.source, name="n" * 512))
    exchange.export([longest], tmp_path / "long.json")
    assert exchange.read_file(tmp_path / "long.json") == [longest]
