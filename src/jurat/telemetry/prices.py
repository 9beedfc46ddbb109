"""What a turn cost by the list: prices a million tokens, each valid from a day on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from jurat.errors import SpecError
from jurat.store.document import Section, read_document

__all__ = ["Price", "PriceBook", "load_prices", "turn_costs"]


class Price(Section):
    """Price of a model from a day on, in US dollars a million tokens."""

    model: str
    since: dt.date
    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float | None = Field(default=None, ge=0)
    cache_write: float | None = Field(default=None, ge=0)


class _Document(Section):
    price: tuple[Price, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """Prices with the digest of the file that says them.

    Attributes
    ----------
    prices
        By model and day.
    sha256
        Digest of the file.
    """

    prices: tuple[Price, ...]
    sha256: str

    def at(self, model: str, day: dt.date) -> Price | None:
        """The price that holds for a model on a day; a name ending in ``*`` stands for all that begin so.

        Examples
        --------
        >>> book = PriceBook(prices=(Price(model="m*", since=dt.date(2026, 1, 1), input=1, output=2),), sha256="")
        >>> book.at("m-large", dt.date(2026, 5, 1)).output, book.at("m-large", dt.date(2025, 5, 1))
        (2.0, None)
        """
        fitting = [p for p in self.prices if p.since <= day and _fits(p.model, model)]
        # The longest name is the most particular one; of its prices the latest holds.
        return max(fitting, key=lambda p: (not p.model.endswith("*"), len(p.model), p.since), default=None)


def load_prices(path: Path) -> PriceBook:
    """Read a price book.

    Parameters
    ----------
    path
        TOML with ``[[price]]`` sections.

    Raises
    ------
    SpecError
        Where it is not one, or two prices of one model begin on one day.
    """
    read = read_document(path, _Document, what="price book", reference="docs/reference/price-book.md")
    seen = [(p.model, p.since) for p in read.content.price]
    twice = next((s for s in seen if seen.count(s) > 1), None)
    if twice:
        raise SpecError(
            "two prices of one model begin on one day", seen=f"{twice[0]}, {twice[1]}", next_step="keep one"
        )
    return PriceBook(prices=read.content.price, sha256=read.sha256)


def turn_costs(
    book: PriceBook,
    models: Sequence[str | None],
    ts_us: NDArray[np.int64],
    tokens_in: pa.Array,
    tokens_out: pa.Array,
    cache_read: pa.Array | None = None,
    cache_write: pa.Array | None = None,
) -> pa.Array:
    """List cost of turns.

    Parameters
    ----------
    book
        The prices.
    models, ts_us
        Model and time of each turn.
    tokens_in, tokens_out
        Tokens of each; a turn without either has no cost.
    cache_read, cache_write
        Of the tokens that went in, those read from and written to a cache; charged at their own price where there is one.

    Returns
    -------
    pyarrow.Array
        US dollars, double; null where the model has no price that day, or tokens are unknown.
    """
    into, out = _numbers(tokens_in), _numbers(tokens_out)
    read = np.zeros(len(into)) if cache_read is None else np.nan_to_num(_numbers(cache_read))
    written = np.zeros(len(into)) if cache_write is None else np.nan_to_num(_numbers(cache_write))
    days = ts_us // 86_400_000_000
    cost = np.full(len(into), np.nan)
    names = np.array([m or "" for m in models], dtype=object)
    for model in {m for m in models if m}:
        for day in np.unique(days[names == model]):
            price = book.at(model, dt.date(1970, 1, 1) + dt.timedelta(days=int(day)))
            if price is None:
                continue
            here = (names == model) & (days == day)
            reading = price.input if price.cache_read is None else price.cache_read
            writing = price.input if price.cache_write is None else price.cache_write
            plain = np.maximum(into[here] - read[here] - written[here], 0)
            cost[here] = (
                plain * price.input + read[here] * reading + written[here] * writing + out[here] * price.output
            ) / 1e6
    return pa.array(cost, mask=~np.isfinite(cost))


def _fits(pattern: str, model: str) -> bool:
    return model.startswith(pattern[:-1]) if pattern.endswith("*") else model == pattern


def _numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
