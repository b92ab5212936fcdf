"""Tables: a CSV file as the numbers a network can take.

Numbers stay as they are, text becomes columns of 0 and 1, gaps are filled. Whatever was changed or left out on the way
is said in a sentence each, because nobody looks at a matrix. A file that cannot be read as a table is refused with what
to do about it.

    table = read_table("titanic.csv", target="survived")
    tuner.fit(table.x, table.y)
"""

from __future__ import annotations

import gzip
import os
import re
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api import types
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from adamtune.errors import DataError, did_you_mean

_FILE = re.compile(r"(.+)\.(csv|tsv)(\.gz)?", re.IGNORECASE)
# A text column becomes at most so many columns of its most frequent values, and one for all others.
_MOST_CATEGORIES = 50
# Text with this share of different values names rows (an ID, a free text) and says nothing about other rows.
_NEARLY_ALL = 0.9
# A share of values that look like dates from which on a column is one of dates.
_MOST_DATES = 0.95
_DATE = r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b"
# A share of values that are numbers from which on the others ("?", "n/a") are gaps.
_MOST_NUMBERS = 0.9
_MISSING, _OTHER = "missing", "other"
_RARE = "infrequent_sklearn"  # what scikit-learn calls the others
# Floats without a fraction are amounts when there are more different ones, as for whole numbers in `tasks.data`.
_MOST_LABELS = 20
# A sentence lists at most so many columns.
_NAMED = 20


@dataclass(frozen=True)
class Table:
    """A file as arrays.

    Parameters
    ----------
    name : str
        The file's name without folder and endings.
    x : ndarray of shape (n_rows, n_features), float32
        Finite numbers.
    y : ndarray of shape (n_rows,)
        Text, whole numbers or floats.
    kind : {"classification", "regression", "auto"}
        What y is: text is labels, numbers with a fraction and the many values of a column of floats are amounts; "auto"
        leaves whole numbers to `tasks.data`.
    features : list of str
        A name for each column of x; "color=red" for a category.
    said : list of str
        A sentence for everything that was filled, dropped or merged.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    kind: str
    features: list[str]
    said: list[str]


def read_table(path: str | os.PathLike[str], target: str) -> Table:
    """Read a CSV or TSV file, gzipped or not, with names in its first line.

    Parameters
    ----------
    target : str
        The column to predict: text, bool or whole numbers are labels, other numbers are amounts.

    Raises
    ------
    DataError
        When the file is missing, is no table, lacks the target or holds nothing to learn from.
    """
    path = Path(path)
    frame = _read(path)
    if target not in frame.columns:
        raise DataError(
            f"{path.name} has no column {target!r}.{did_you_mean(target, map(str, frame.columns))} "
            f"It has: {_listed(frame.columns)}."
        )
    said: list[str] = []
    frame[target] = _numbers(frame[target], said)
    frame = _with_target(frame, target, path, said)
    x, features = _features(frame.drop(columns=target), said)
    if not features:
        raise DataError(f"{path.name} has no usable column besides {target!r}. {' '.join(said)}".rstrip())
    y, kind = _target(frame[target])
    return Table(_FILE.sub(r"\1", path.name), x, y, kind, features, said)


def digits() -> Table:
    """The 1,797 images of 8 x 8 pixels that scikit-learn ships (UCI Optical Recognition of Handwritten Digits)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return Table("digits", found.data.astype(np.float32), found.target, "classification", list(found.feature_names), [])


# -------------------------------------------------------------------------------------------------- reading


def _read(path: Path) -> pd.DataFrame:
    if not _FILE.fullmatch(path.name):
        raise DataError(f"{str(path)!r}: expected a file that ends in .csv, .csv.gz, .tsv or .tsv.gz.")
    if not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"the file {str(path)!r} does not exist.{near}")
    try:
        with warnings.catch_warnings():
            # Rows longer than the header would lose their end with nothing but a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            separator = _separator(path)
            frame = pd.read_csv(
                path,
                sep=separator,
                decimal="," if separator == ";" else ".",
                index_col=False,
                skipinitialspace=True,
                low_memory=False,
            )
    except pd.errors.EmptyDataError:
        raise DataError(f"{path.name} is empty: expected a line of column names and rows below.") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        raise DataError(
            f"{path.name} is no table: {str(error).strip()}. Expected as many values in every line as in the first; "
            'a value that holds the separator stands in "quotes".'
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path.name} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {error}.") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.columns.has_duplicates:
        raise DataError(f"{path.name} has several columns called {frame.columns[frame.columns.duplicated()][0]!r}.")
    if len(frame) == 0:
        raise DataError(f"{path.name} has column names but no rows.")
    return frame


def _separator(path: Path) -> str:
    """What the ending says, or the semicolon of spreadsheets in countries with a decimal comma."""
    name = path.name.lower()
    with gzip.open(path) if name.endswith(".gz") else path.open("rb") as file:
        header = file.readline()
    if ".tsv" in name:
        return "\t"
    return ";" if b"," not in header and b";" in header else ","


def _with_target(frame: pd.DataFrame, target: str, path: Path, said: list[str]) -> pd.DataFrame:
    """The rows that have a target."""
    present = frame[target].notna()
    if types.is_float_dtype(frame[target]):
        present &= np.isfinite(frame[target])
    if not present.any():
        raise DataError(f"the column {target!r} of {path.name} is empty: there is nothing to learn.")
    if gone := int((~present).sum()):
        said.append(f"{_count(gone, 'row')} without {target!r} dropped.")
    if present.sum() < 2:
        raise DataError(f"{path.name} has one row with {target!r}: expected at least two.")
    return frame[present].reset_index(drop=True)


def _target(column: pd.Series) -> tuple[np.ndarray, str]:
    """The targets and what they are."""
    if types.is_bool_dtype(column) or not types.is_numeric_dtype(column):
        return column.astype(str).to_numpy(dtype=object), "classification"
    values = column.to_numpy()
    if values.dtype.kind != "f":
        return values, "auto"
    # Labels are read as floats when some are missing, or when somebody wrote 1.0 for 1.
    if (values == np.round(values)).all() and column.nunique() <= _MOST_LABELS:
        return values.astype(np.int64), "auto"
    return values, "regression"


# ------------------------------------------------------------------------------------------------- encoding


def _features(frame: pd.DataFrame, said: list[str]) -> tuple[np.ndarray, list[str]]:
    """All usable columns as numbers, and their names."""
    numbers, texts, same, rows = {}, {}, [], []
    for name, column in frame.items():
        values = _numbers(column, said)
        is_number = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
        if not is_number:
            values = values.astype(str).where(values.notna(), _MISSING)
        if values.nunique() < 2:
            same.append(name)
        elif is_number:
            numbers[name] = values.replace([np.inf, -np.inf], np.nan)
        elif _names_rows(values):
            rows.append(name)
        else:
            texts[name] = values
    if same:
        said.append(f"Dropped, because every row has the same: {_listed(same)}.")
    if rows:
        said.append(
            f"Dropped, because text or dates that differ in nearly every row cannot be learned: {_listed(rows)}."
        )
    blocks, features = [np.empty((len(frame), 0))], []
    for encode, columns in ((_fill, numbers), (_one_hot, texts)):
        if columns:
            block, names = encode(pd.DataFrame(columns), said)
            blocks.append(block)
            features += names
    return np.concatenate(blocks, axis=1, dtype=np.float32, casting="same_kind"), features


def _numbers(column: pd.Series, said: list[str]) -> pd.Series:
    """The column, as numbers where most of it are numbers."""
    if types.is_numeric_dtype(column) or column.isna().all():
        return column
    if column.map(lambda value: isinstance(value, bool)).any():  # bool with gaps
        return column
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.notna().sum() < _MOST_NUMBERS * column.notna().sum():
        return column
    others = column[numbers.isna() & column.notna()].astype(str)
    if len(others):
        count = _count(len(others), "value")
        said.append(f"{column.name}: {count} taken as missing for not being a number, such as {others.iloc[0]!r}.")
    return numbers


def _names_rows(texts: pd.Series) -> bool:
    different = texts.nunique()
    if different > _NEARLY_ALL * len(texts):
        return True
    return different > _MOST_CATEGORIES and bool(texts.str.match(_DATE).mean() >= _MOST_DATES)


def _fill(numbers: pd.DataFrame, said: list[str]) -> tuple[np.ndarray, list[str]]:
    """Gaps filled with the column's median."""
    gaps = numbers.isna().sum()
    if gaps.any():
        said.append(
            f"Filled {_count(int(gaps.sum()), 'missing number')} by the median: {_listed(gaps[gaps > 0].index)}."
        )
    return SimpleImputer(strategy="median").fit_transform(numbers), numbers.columns.to_list()


def _one_hot(texts: pd.DataFrame, said: list[str]) -> tuple[np.ndarray, list[str]]:
    """A column of 0 and 1 for each of the most frequent values, one for both of two."""
    encoder = OneHotEncoder(
        drop="if_binary",
        max_categories=_MOST_CATEGORIES + 1,
        sparse_output=False,
        feature_name_combiner=lambda column, value: f"{column}={_OTHER if value == _RARE else value}",
    )
    encoded = encoder.fit_transform(texts)
    for name, rare in zip(texts, encoder.infrequent_categories_, strict=True):
        if rare is not None:
            said.append(f"{name}: kept the {_MOST_CATEGORIES} most frequent values, {len(rare)} others are one.")
    return encoded, list(encoder.get_feature_names_out())


def _listed(names: Iterable[object]) -> str:
    shown = [str(name) for name in names]
    return ", ".join(shown[:_NAMED]) + (f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else "")


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
