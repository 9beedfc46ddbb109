"""Draw a sample whose make-up is known: by category, by length, by hash.

Every draw says with what probability each unit entered, so that what is counted in the sample can be weighted back to the
whole (Horvitz and Thompson, 1952). Counts are exact where they are promised: largest remainders for proportions, systematic
selection for unequal probabilities.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jurat.corpus.unequal import check_size, inclusion_probabilities, systematic

__all__ = [
    "Allocation",
    "Draw",
    "allocate_equally",
    "allocate_proportionally",
    "draw_balanced",
    "draw_by_hash",
    "draw_stratified",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """How many units each category gives.

    Attributes
    ----------
    counts
        Units to draw, by category.
    available
        Units there are, by category.
    missing
        Units short of what was asked for, by category; only categories that lack any.
    """

    counts: dict[str, int]
    available: dict[str, int]
    missing: dict[str, int]

    def __str__(self) -> str:
        rows = [f"{name}: {count} of {self.available[name]}" for name, count in self.counts.items()]
        rows += [f"{name} lacks {count}" for name, count in self.missing.items()]
        return "; ".join(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Units that were drawn.

    Attributes
    ----------
    units
        Rows drawn, ascending, int64, shape ``(m,)``.
    probabilities
        Probability with which each of these was drawn, float64, shape ``(m,)``, in (0, 1].
    allocation
        Units by category; ``None`` where there are no categories.
    """

    units: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    allocation: Allocation | None = None


def allocate_proportionally(available: Mapping[str, int], size: int) -> Allocation:
    """Share a sample out in proportion to the categories, with exact counts.

    Parameters
    ----------
    available
        Units of each category.
    size
        Units to draw, at most as many as there are.

    Returns
    -------
    Allocation
        Counts add up to ``size``, each within one of its exact quota.

    Raises
    ------
    ValueError
        For a negative number of units or an impossible size.

    Notes
    -----
    Each category gets :math:`\\lfloor n N_h / N \\rfloor`; what is left goes to the largest remainders, the category given
    first where they are equal (Hamilton's method). Whole numbers are used throughout, so that ties are exact.

    References
    ----------
    Balinski, M. L. and Young, H. P. (2001). Fair representation. Brookings.

    Examples
    --------
    >>> print(allocate_proportionally({"code": 50, "chat": 33, "prose": 17}, 10))
    code: 5 of 50; chat: 3 of 33; prose: 2 of 17
    """
    _check_available(available)
    total = sum(available.values())
    check_size(size, total)
    floors = {name: size * count // total if total else 0 for name, count in available.items()}
    rest = size - sum(floors.values())
    names = list(available)
    order = sorted(range(len(names)), key=lambda i: (-(size * available[names[i]] % total) if total else 0, i))
    for i in order[:rest]:
        floors[names[i]] += 1
    return Allocation(counts=floors, available=dict(available), missing={})


def _check_available(available: Mapping[str, int]) -> None:
    for name, count in available.items():
        if count < 0 or count != int(count):
            raise ValueError(f"units of {name!r} must be a whole number of at least 0, got {count!r}")


def allocate_equally(available: Mapping[str, int], size: int) -> Allocation:
    """Share a sample out equally; a category that has too few gives all it has, and what it lacks is said.

    Parameters
    ----------
    available
        Units of each category.
    size
        Units to draw; what does not divide goes to the categories given first.

    Returns
    -------
    Allocation
        ``missing`` holds the difference between a category's equal share and its units. It is not made up for by others:
        the categories would not be equal any more.

    Raises
    ------
    ValueError
        For a negative number of units or size, or no category at all for a sample that is not empty.

    Examples
    --------
    >>> print(allocate_equally({"de": 100, "fr": 4, "it": 70}, 30))
    de: 10 of 100; fr: 4 of 4; it: 10 of 70; fr lacks 6
    """
    _check_available(available)
    check_size(size)
    if not available:
        if size:
            raise ValueError(f"there is no category to draw {size} units from")
        return Allocation(counts={}, available={}, missing={})
    share, rest = divmod(size, len(available))
    wanted = {name: share + (i < rest) for i, name in enumerate(available)}
    counts = {name: min(wanted[name], count) for name, count in available.items()}
    missing = {name: wanted[name] - counts[name] for name in available if counts[name] < wanted[name]}
    return Allocation(counts=counts, available=dict(available), missing=missing)


def draw_stratified(
    categories: Sequence[str], size: int, rng: np.random.Generator, *, allocation: str = "proportional"
) -> Draw:
    """Draw without replacement within categories.

    Parameters
    ----------
    categories
        Category of each unit.
    size
        Units to draw.
    rng
        Source of randomness.
    allocation
        ``"proportional"`` (`allocate_proportionally`) or ``"equal"`` (`allocate_equally`).

    Returns
    -------
    Draw
        Every unit of a category with the probability :math:`n_h / N_h`.

    Raises
    ------
    ValueError
        For an unknown allocation or an impossible size.

    References
    ----------
    Cochran, W. G. (1977). Sampling techniques, chapter 5. Wiley.

    Examples
    --------
    >>> draw = draw_stratified(["a"] * 60 + ["b"] * 40, 10, np.random.default_rng(1))
    >>> print(draw.allocation, len(draw.units), draw.probabilities[0])
    a: 6 of 60; b: 4 of 40 10 0.1
    """
    if allocation not in ("proportional", "equal"):
        raise ValueError(f"allocation must be 'proportional' or 'equal', got {allocation!r}")
    members = _members(categories)
    available = {name: len(units) for name, units in members.items()}
    shares = (allocate_proportionally if allocation == "proportional" else allocate_equally)(available, size)
    units = [rng.choice(members[name], count, replace=False) for name, count in shares.counts.items()]
    chances = [np.full(count, count / available[name]) for name, count in shares.counts.items() if count]
    return _draw(units, chances, shares)


def _members(categories: Sequence[str]) -> dict[str, npt.NDArray[np.int64]]:
    names, codes = np.unique(np.asarray(categories, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    parts = np.split(order, ends[:-1]) if len(names) else []
    return {str(name): part for name, part in zip(names, parts, strict=True)}


def _draw(
    units: Iterable[npt.NDArray[np.int64]], chances: Iterable[npt.NDArray[np.float64]], allocation: Allocation | None
) -> Draw:
    drawn = np.concatenate([np.empty(0, np.int64), *units]).astype(np.int64)
    probabilities = np.concatenate([np.empty(0), *chances])
    order = np.argsort(drawn, kind="stable")
    return Draw(units=drawn[order], probabilities=probabilities[order], allocation=allocation)


def draw_balanced(
    categories: Sequence[str], lengths: npt.ArrayLike, size: int, rng: np.random.Generator, *, preference: float = 1.0
) -> Draw:
    """Draw equally from each category while preferring long conversations.

    Parameters
    ----------
    categories
        Category of each conversation.
    lengths
        Its length (turns, tokens), positive, shape ``(n,)``.
    size
        Conversations to draw.
    rng
        Source of randomness.
    preference
        Exponent of the length: 0 prefers none, 1 is proportional to length.

    Returns
    -------
    Draw
        With the exact probability of each drawn unit, so that totals of the whole can be estimated without bias.

    Raises
    ------
    ValueError
        For lengths that are not positive, as many as there are categories, or a negative preference.

    Notes
    -----
    Within a category: systematic selection with probabilities proportional to :math:`\\ell^a` over a random order (Madow,
    1949). The number drawn is exact and so are the first-order probabilities, which hold for successive draws
    without replacement (Efraimidis and Spirakis, 2006) only to a first approximation.

    References
    ----------
    Madow, W. G. (1949). Annals of Mathematical Statistics 20, 333–354. Efraimidis, P. S. and Spirakis, P. G. (2006).
    Information Processing Letters 97, 181–185.

    Examples
    --------
    >>> draw = draw_balanced(["a", "a", "a", "b", "b"], [1, 2, 3, 5, 5], 4, np.random.default_rng(0))
    >>> draw.allocation.counts, draw.units[-2:].tolist()
    ({'a': 2, 'b': 2}, [3, 4])
    """
    measures = np.asarray(lengths, np.float64)
    if measures.shape != (len(categories),) or not np.all(np.isfinite(measures) & (measures > 0)):
        raise ValueError(f"lengths must be {len(categories)} positive finite numbers, one a unit")
    if not (math.isfinite(preference) and preference >= 0):
        raise ValueError(f"preference must be a finite number of at least 0, got {preference!r}")
    members = _members(categories)
    allocation = allocate_equally({name: len(rows) for name, rows in members.items()}, size)
    units, chances = [], []
    for name, count in allocation.counts.items():
        rows = rng.permutation(members[name])
        weights = np.exp(preference * (np.log(measures[rows]) - np.log(measures[rows]).max()))
        probabilities = inclusion_probabilities(weights, count)
        chosen = systematic(probabilities, count, rng)
        units.append(rows[chosen])
        chances.append(probabilities[chosen])
    return _draw(units, chances, allocation)


def draw_by_hash(doc_ids: Iterable[str], share: float, *, seed: int = 0) -> Draw:
    """Draw the documents whose hashed identifier is below a share; the same ones everywhere, and nested.

    Parameters
    ----------
    doc_ids
        Identifiers.
    share
        In [0, 1]; what a smaller share draws, a larger one draws too.
    seed
        Another seed draws other documents, independently.

    Returns
    -------
    Draw
        Each document with the probability ``share``; independent of order, shards and machine.

    Raises
    ------
    ValueError
        For a share outside [0, 1].

    Notes
    -----
    A document is drawn when the first 8 bytes of BLAKE2b over seed and identifier, as a fraction of :math:`2^{64}`, are
    below the share.

    Examples
    --------
    >>> names = [f"file#{i}" for i in range(1000)]
    >>> small, large = draw_by_hash(names, 0.1, seed=7), draw_by_hash(names, 0.2, seed=7)
    >>> len(small.units), len(large.units), set(small.units) <= set(large.units)
    (87, 177, True)
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must lie in [0, 1], got {share!r}")
    key = hashlib.blake2b(str(seed).encode()).digest()
    limit = math.floor(share * 2**64)
    units = [
        row
        for row, name in enumerate(doc_ids)
        if int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest())
        < limit
    ]
    return Draw(units=np.array(units, np.int64), probabilities=np.full(len(units), float(share)))
