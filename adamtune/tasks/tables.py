"""Tables: a CSV or Parquet file, or a frame of pandas, as the numbers a network can take.

Numbers stay as they are, text becomes columns of 0 and 1, gaps are filled. Whatever was changed or left out on the way
is said in a sentence each, because nobody looks at a matrix. A file that cannot be read as a table is refused with what
to do about it.

    table = read_table("titanic.csv", target="survived")
    tuner.fit(table.x, table.y)

What a frame was encoded with is kept as an `Encoder`, so that other rows are encoded alike.

    encoder = Encoder.fit(frame)
    x, unseen = encoder.transform(frame), encoder.transform(other_rows)
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
from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

from adamtune.errors import DataError, did_you_mean, short

_FILE = re.compile(r"(.+)\.(?:(?:csv|tsv)(?:\.gz)?|parquet)", re.IGNORECASE)
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
# Floats without a fraction are amounts when there are more different ones, as for whole numbers in `tasks.data`.
_MOST_LABELS = 20
# A sentence lists at most so many columns, and so many characters of a name.
_NAMED = 20
_SHOWN = 60
# What pandas calls an index without a name in a Parquet file.
_INDEX = re.compile(r"__index_level_\d+__")
# Why a column is not used.
_NESTED = "Dropped, because lists and records have no place in a table"
_SAME = "Dropped, because every row has the same"
_ROWS = "Dropped, because text or dates that differ in nearly every row cannot be learned"
_DATES = "Dropped, because dates and times are no numbers (make some of them, such as the hour or the weekday)"


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
    """Read a CSV or TSV file, gzipped or not, with names in its first line; or a Parquet file.

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
    said: list[str] = []
    frame = _read(path, said)
    if target not in frame.columns:
        raise DataError(
            f"{path.name} has no column {_cut(target)!r}.{did_you_mean(target[:_SHOWN], map(str, frame.columns))} "
            f"It has: {_listed(frame.columns)}."
        )
    frame[target] = _numbers(frame[target], said)
    frame = _with_target(frame, target, path, said)
    others = frame.drop(columns=target)
    encoder = Encoder.fit(others)
    said += encoder.said
    if not encoder.columns:
        raise DataError(f"{path.name} has no usable column besides {_cut(target)!r}. {' '.join(said)}".rstrip())
    y, kind = _target(frame[target])
    return Table(_FILE.sub(r"\1", path.name), encoder.transform(others), y, kind, encoder.features, said)


def digits() -> Table:
    """The 1,797 images of 8 x 8 pixels that scikit-learn ships (UCI Optical Recognition of Handwritten Digits)."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return Table("digits", found.data.astype(np.float32), found.target, "classification", list(found.feature_names), [])


# -------------------------------------------------------------------------------------------------- reading


def _read(path: Path, said: list[str]) -> pd.DataFrame:
    if not _FILE.fullmatch(path.name):
        raise DataError(f"{str(path)!r}: expected a file that ends in .csv, .csv.gz, .tsv, .tsv.gz or .parquet.")
    if not path.exists():
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise DataError(f"the file {str(path)!r} does not exist.{near}")
    try:
        frame = _read_parquet(path, said) if path.suffix.lower() == ".parquet" else _read_text(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} cannot be read: {_first(error)}.") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise DataError(f"{path.name} has several columns called {_cut(twice)!r}.")
    if len(frame) == 0:
        raise DataError(f"{path.name} has column names but no rows.")
    return frame


def _read_text(path: Path) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # Rows longer than the header would lose their end with nothing but a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            separator = _separator(path)
            return pd.read_csv(
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


def _read_parquet(path: Path, said: list[str]) -> pd.DataFrame:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise DataError(
            f"{path.name} needs pyarrow, which reads Parquet: run `pip install 'adamtune[parquet]'`, or save it as CSV."
        ) from None
    try:
        found = parquet.ParquetFile(path).read()
        nested = [field.name for field in found.schema if field.type.num_fields]
        if nested:
            said.append(f"{_NESTED}: {_listed(nested)}.")
        unnamed = [name for name in found.column_names if _INDEX.fullmatch(name)]
        return found.drop_columns([*nested, *unnamed]).to_pandas(ignore_metadata=True)
    except (ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} cannot be read as Parquet: {_first(error)}.") from None


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
        raise DataError(f"the column {_cut(target)!r} of {path.name} is empty: there is nothing to learn.")
    if gone := int((~present).sum()):
        said.append(f"{_count(gone, 'row')} without {_cut(target)!r} dropped.")
    if present.sum() < 2:
        raise DataError(f"{path.name} has one row with {_cut(target)!r}: expected at least two.")
    return frame[present].reset_index(drop=True)


def _target(column: pd.Series) -> tuple[np.ndarray, str]:
    """The targets and what they are."""
    if types.is_bool_dtype(column) or not types.is_numeric_dtype(column):
        return column.astype(object).map(_text).to_numpy(dtype=object), "classification"
    values = column.to_numpy()
    if values.dtype.kind != "f":
        return values, "auto"
    # Labels are read as floats when some are missing, or when somebody wrote 1.0 for 1. Beyond 2**53 they are others.
    is_whole = (values == np.round(values)) & (np.abs(values) <= 2**53)
    if is_whole.all() and column.nunique() <= _MOST_LABELS:
        return values.astype(np.int64), "auto"
    return values, "regression"


# ------------------------------------------------------------------------------------------------- encoding


@dataclass(frozen=True)
class Column:
    """How one column of a frame becomes numbers.

    Parameters
    ----------
    position : int
        In the frame, from 0.
    name : str
    median : float or None
        What fills the gaps of a column of numbers; None for text.
    marks : bool
        Whether some of its numbers were marks such as "?", which are gaps.
    values : tuple of str
        Of text: those that become a column of 0 and 1 each. Of two values the second alone does.
    others : bool
        Whether a further column stands for all other text.
    """

    position: int
    name: str
    median: float | None = None
    marks: bool = False
    values: tuple[str, ...] = ()
    others: bool = False

    @property
    def features(self) -> list[str]:
        """Names of what becomes of it: "age", or "color=red" for a value."""
        if self.median is not None:
            return [self.name]
        return [f"{self.name}={value}" for value in (*self.values, *[_OTHER] * self.others)]

    def encode(self, column: pd.Series) -> np.ndarray:
        """The column as numbers, (n, len(features)); text that was not there at `fit` is another or nothing."""
        if self.median is not None:
            return self._filled(column)[:, None]
        found = pd.Index(self.values, dtype=object).get_indexer(pd.Index(_texts(column), dtype=object))
        return found[:, None] == [*range(len(self.values)), *[-1] * self.others]

    def _filled(self, column: pd.Series) -> np.ndarray:
        is_number = types.is_numeric_dtype(column)
        numbers = column if is_number else _parsed(column.astype(object))
        strange = column[numbers.isna() & column.notna()]
        if len(strange) and not self.marks:
            raise DataError(
                f"{_cut(self.name)} held numbers when the table was encoded, but holds {short(strange.iloc[0])} now: "
                "expected numbers, or nothing where one is missing."
            )
        return _floats(numbers).fillna(self.median).to_numpy()


@dataclass(frozen=True)
class Encoder:
    """A frame as numbers: numbers with their gaps filled, then text as columns of 0 and 1.

    What it holds is names, medians and values, so that it is stored as data.

    Parameters
    ----------
    names : tuple of str
        All columns of the frame.
    columns : tuple of Column
        Those that are used, in the order of what becomes of them.
    said : tuple of str
        A sentence for everything that was filled, dropped or merged.
    dropped : tuple of str
        Those of the sentences that name columns which are not used.
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    said: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @classmethod
    def fit(cls, frame: pd.DataFrame) -> Encoder:
        """Learn from the columns of a frame: what is a number, the medians, which values text has."""
        said: list[str] = []
        gaps: list[str] = []
        n_gaps = 0
        numbers, texts = [], []
        dropped: dict[str, list[str]] = {_SAME: [], _ROWS: [], _DATES: []}
        merged: list[str] = []
        for position, (label, column) in enumerate(frame.items()):
            name = str(label)
            if _is_date(column):
                dropped[_DATES].append(name)
                continue
            before = len(said)
            values = _values(column, said)
            if values.nunique() < 2:
                dropped[_SAME].append(name)
            elif types.is_float_dtype(values):
                with np.errstate(over="ignore"):  # between two of the largest; the rows are refused then
                    median = float(values.median())
                numbers.append(Column(position, name, median, marks=len(said) > before))
                if n := int(values.isna().sum()):
                    gaps.append(name)
                    n_gaps += n
            elif _names_rows(values):
                dropped[_ROWS].append(name)
            else:
                texts.append(_column(position, name, values, merged))
        left_out = [f"{sentence}: {_listed(names)}." for sentence, names in dropped.items() if names]
        said += left_out
        if gaps:
            said.append(f"Filled {_count(n_gaps, 'missing number')} by the median: {_listed(gaps)}.")
        return cls(tuple(map(str, frame.columns)), (*numbers, *texts), (*said, *merged), tuple(left_out))

    @property
    def features(self) -> list[str]:
        """A name for each column of what `transform` returns."""
        return [feature for column in self.columns for feature in column.features]

    def transform(self, X: Any, dtype: str = "float32") -> np.ndarray:
        """The rows as numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n, len(names))

        Returns
        -------
        ndarray of shape (n, len(features)), of `dtype`
            Finite where the numbers are within the range of `dtype`. Text that `fit` did not see counts as "other"
            where there is such a column; all columns of its text are 0 otherwise.

        Raises
        ------
        DataError
            For other columns than `fit` saw, and for text in a column that was numbers.
        """
        frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(X)
        names = tuple(map(str, frame.columns)) if frame is X else self.names[: frame.shape[1]]
        if names != self.names:
            raise DataError(
                f"the table has the columns {_listed(names)}; expected those of fit: {_listed(self.names)}."
            )
        encoded = np.empty((len(frame), len(self.features)), dtype)
        end = 0
        with np.errstate(over="ignore"):  # what is too large for the type is refused as such
            for column in self.columns:
                start, end = end, end + len(column.features)
                encoded[:, start:end] = column.encode(frame.iloc[:, column.position])
        return encoded


def encoded(X: Any, validation_data: Any, dtype: str) -> tuple[Encoder | None, Any, Any]:
    """A frame that has text, categories, dates or gaps as numbers, and the rows that judge alike.

    Parameters
    ----------
    X : DataFrame, or anything else
    validation_data : (X, y) or (X, y, sample_weight) or None
        Rows that judge. Nothing is learned from them.

    Returns
    -------
    encoder : Encoder or None
        None where X is no such frame: then it comes back as it is.
    X, validation_data
        The rows as arrays of `dtype`.

    Raises
    ------
    DataError
        When no column of the frame can be used.
    """
    if not isinstance(X, pd.DataFrame) or 0 in X.shape or _is_numbers(X):
        return None, X, validation_data
    encoder = Encoder.fit(X)
    if not encoder.columns:
        raise DataError(f"X has no usable column. {' '.join(encoder.said)}")
    if isinstance(validation_data, (tuple, list)) and validation_data:
        validation_data = (encoder.transform(validation_data[0], dtype), *validation_data[1:])
    return encoder, encoder.transform(X, dtype), validation_data


def _is_numbers(frame: pd.DataFrame) -> bool:
    return all(map(types.is_numeric_dtype, frame.dtypes)) and not frame.isna().any(axis=None)


def _values(column: pd.Series, said: list[str]) -> pd.Series:
    """The column as floats with gaps, or as text without."""
    if types.is_complex_dtype(column):
        raise DataError(f"Complex data not supported: {column.name} has dtype {column.dtype}, expected real numbers.")
    if isinstance(column.dtype, pd.CategoricalDtype):
        return _texts(column)
    values = _numbers(column, said)
    is_number = types.is_numeric_dtype(values) and not types.is_bool_dtype(values)
    return _floats(values) if is_number else _texts(values)


def _floats(numbers: pd.Series) -> pd.Series:
    floats = numbers.to_numpy(dtype="float64", na_value=np.nan)
    return pd.Series(np.where(np.isfinite(floats), floats, np.nan), index=numbers.index)


def _texts(column: pd.Series) -> pd.Series:
    return column.astype(object).map(_text).where(column.notna(), _MISSING)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _numbers(column: pd.Series, said: list[str]) -> pd.Series:
    """The column, as numbers where most of it are numbers."""
    if types.is_numeric_dtype(column) or column.isna().all():
        return column
    if column.map(lambda value: isinstance(value, bool)).any():  # bool with gaps
        return column
    numbers = _parsed(column)
    if numbers.notna().sum() < _MOST_NUMBERS * column.notna().sum():
        return column
    others = column[numbers.isna() & column.notna()].astype(str)
    if len(others):
        count = _count(len(others), "value")
        example = short(others.iloc[0])
        said.append(f"{_cut(column.name)}: {count} taken as missing for not being a number, such as {example}.")
    return numbers


def _parsed(column: pd.Series) -> pd.Series:
    """The column as numbers: nothing for what is none, infinity for a whole number that is beyond floats."""
    try:
        return pd.to_numeric(column, errors="coerce")
    except OverflowError:
        return pd.to_numeric(column.astype(str), errors="coerce")


def _is_date(column: pd.Series) -> bool:
    dtype = column.dtype
    return types.is_datetime64_any_dtype(dtype) or dtype.kind == "m" or isinstance(dtype, pd.PeriodDtype)


def _names_rows(texts: pd.Series) -> bool:
    different = texts.nunique()
    if different > _NEARLY_ALL * len(texts):
        return True
    return different > _MOST_CATEGORIES and bool(texts.str.match(_DATE).mean() >= _MOST_DATES)


def _column(position: int, name: str, texts: pd.Series, said: list[str]) -> Column:
    """A column of 0 and 1 for each of the most frequent values, one for both of two."""
    counts = texts.value_counts().sort_index()
    values = counts.index.to_numpy(dtype=object)
    if len(values) == 2:
        return Column(position, name, values=tuple(values[1:]))
    rare = len(values) - _MOST_CATEGORIES
    if rare < 2:  # one value need not hide behind a name of its own
        return Column(position, name, values=tuple(values))
    said.append(f"{_cut(name)}: kept the {_MOST_CATEGORIES} most frequent values, {rare} others are one.")
    kept = np.sort(np.argsort(counts.to_numpy(), kind="stable")[rare:])
    return Column(position, name, values=tuple(values[kept]), others=True)


def _listed(names: Iterable[object]) -> str:
    shown = [_cut(name) for name in names]
    return ", ".join(shown[:_NAMED]) + (f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else "")


def _cut(name: object) -> str:
    """A name as a sentence takes it: some files have a text where others have names."""
    text = str(name)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _first(error: Exception) -> str:
    """The first line of what a reader says of a file."""
    return str(error).strip().partition("\n")[0].rstrip(".")[: 4 * _SHOWN]


def _count(n: int, what: str) -> str:
    return f"{n} {what}" + ("" if n == 1 else "s")
