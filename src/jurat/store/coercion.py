"""A field of somebody's file as a value of one of our columns: without loss, or refused with the reason.

Text is read as what the column holds; nothing is rounded, wrapped around or guessed. Reasons show the beginning of a value,
never the whole of it: a field may hold somebody's text.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

__all__ = ["coerce"]

_SHOWN = 40


def coerce(raw: Any, kind: pa.DataType) -> Any:
    """Bring a field to the type of its column.

    Parameters
    ----------
    raw
        What the file holds: text, or a value of JSON or Parquet. Nothing and empty text are null.
    kind
        Type of the column: text, number, yes or no, time with zone, or a list of these.

    Returns
    -------
    object
        A value that `pyarrow.array` takes for ``kind`` without loss; ``None`` for null.

    Raises
    ------
    ValueError
        Where the column cannot hold the value, with the beginning of the value.

    Examples
    --------
    >>> coerce("7", pa.int32()), coerce("", pa.int32()), coerce(True, pa.string())
    (7, None, 'true')
    >>> coerce("2026-05-01T10:00:00+02:00", pa.timestamp("us", tz="UTC")).isoformat()
    '2026-05-01T08:00:00+00:00'
    >>> coerce(2**40, pa.int32())
    Traceback (most recent call last):
    ...
    ValueError: 1099511627776 does not fit int32
    """
    if raw is None or raw == "":
        return None
    if isinstance(raw, float) and math.isnan(raw):
        raise ValueError("nan is not a finite number")
    if pa.types.is_list(kind):
        if not isinstance(raw, list):
            raise ValueError(f"{_shown(raw)} is not a list")
        return [coerce(item, kind.value_type) for item in raw]
    return _converter(kind)(raw, kind)


def _shown(value: Any) -> str:
    text = repr(value[:_SHOWN] if isinstance(value, str | bytes) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _converter(kind: pa.DataType) -> Callable[[Any, pa.DataType], Any]:
    if pa.types.is_string(kind):
        return _text
    if pa.types.is_floating(kind):
        return _number
    if pa.types.is_integer(kind):
        return _integer
    return _boolean if pa.types.is_boolean(kind) else _time


def _text(value: Any, _: pa.DataType) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | list | dict):
        raise ValueError(f"{_shown(value)} is not text")
    if isinstance(value, float):
        return repr(_number(value, _))
    text = str(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError("half of a surrogate pair is no character") from error
    return text


def _plain(value: Any) -> Any:
    """Refuse what Python reads as a number and other tools do not: ``1_000``."""
    if (isinstance(value, str) and "_" in value) or isinstance(value, list | dict | bytes | dt.date):
        raise ValueError(f"{_shown(value)} is not a number")
    return value


def _number(value: Any, _: pa.DataType) -> float:
    try:
        number = float(_plain(value))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{_shown(value)} is not a number") from error
    if not math.isfinite(number):
        raise ValueError(f"{str(value)[:_SHOWN]} is not a finite number")
    return number


def _integer(value: Any, kind: pa.DataType) -> int:
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a whole number")
    try:
        number = int(_plain(value))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{_shown(value)} is not a whole number") from error
    if isinstance(value, float | decimal.Decimal) and number != value:
        raise ValueError(f"{_shown(value)} is not a whole number")
    half = 1 << (kind.bit_width - 1)
    if not -half <= number < half:
        raise ValueError(f"{_shown(number)} does not fit {kind}")
    return number


def _boolean(value: Any, _: pa.DataType) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    word = str(value).strip().lower()
    if word not in words:
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return words[word]


def _time(value: Any, _: pa.DataType) -> dt.datetime:
    if isinstance(value, int | float):
        raise ValueError(f"{_shown(value)} is a bare number: give an ISO 8601 time with its zone")
    try:
        time = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
        if time.tzinfo is None:
            raise ValueError(f"{_shown(value)} has no time zone")
        return time.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError(f"{_shown(value)} is no time that can be told in UTC") from error
