"""How many tokens does each source give to a training mix, when some are too small for their weight?

A source that would be read more often than its cap gives what the cap allows; the rest is shared out among the others by
weight, until nothing changes. Counts are whole tokens, by largest remainders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jurat.corpus.unequal import check_size

__all__ = ["Mixture", "mix_sources"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Tokens that each source gives to a mix.

    Attributes
    ----------
    tokens
        Tokens drawn, by source.
    epochs
        How often each source is read.
    shares
        Share of the mix; differs from the weights where a cap binds.
    capped
        Sources whose cap binds, in the order in which they were given.
    shortfall
        Tokens of the budget that no source may give.
    effective_size
        :math:`1 / \\sum_s q_s^2 / U_s` with shares q and distinct tokens U drawn (at most a source's size): as
        many distinct tokens, drawn evenly, would vary as little.
    """

    tokens: dict[str, int]
    epochs: dict[str, float]
    shares: dict[str, float]
    capped: tuple[str, ...]
    shortfall: int
    effective_size: float


def _largest_remainders(quotas: Sequence[float], total: int) -> list[int]:
    floors = [math.floor(quota) for quota in quotas]
    order = sorted(range(len(quotas)), key=lambda i: (floors[i] - quotas[i], i))
    for i in order[: total - sum(floors)]:
        floors[i] += 1
    return floors


def mix_sources(
    sizes: Mapping[str, int],
    weights: Mapping[str, float],
    budget: int,
    *,
    most_epochs: float | Mapping[str, float] = 4.0,
) -> Mixture:
    """Fill a token budget from sources by weight, none read more often than its cap allows.

    Parameters
    ----------
    sizes
        Tokens of each source.
    weights
        Wanted share of each, in any unit.
    budget
        Tokens of the mix.
    most_epochs
        Cap for all, or by source. Four epochs are nearly worth new data (Muennighoff et al., 2023).

    Returns
    -------
    Mixture
        What a capped source cannot give, the others give in proportion to their weights.

    Raises
    ------
    ValueError
        For sizes or caps that are not positive, negative weights, or weights and sizes of different sources.

    References
    ----------
    Muennighoff, N. et al. (2023). Scaling data-constrained language models. NeurIPS. Kish, L. (1965). Survey sampling. Wiley.

    Examples
    --------
    >>> mix = mix_sources({"web": 1000, "books": 50}, {"web": 1, "books": 1}, 800)
    >>> mix.tokens, mix.epochs["books"], mix.capped
    ({'web': 600, 'books': 200}, 4.0, ('books',))
    """
    caps = _caps(sizes, weights, budget, most_epochs)
    tokens = dict.fromkeys(sizes, 0.0)
    free = {name for name in sizes if weights[name] > 0}
    left = float(budget)
    while free and left > 0:
        total = math.fsum(weights[name] for name in free)
        bound = sorted(name for name in free if left * weights[name] / total >= caps[name])
        if not bound:
            tokens |= {name: left * weights[name] / total for name in free}
            break
        for name in bound:
            tokens[name] = caps[name]
        free -= set(bound)
        left -= math.fsum(caps[name] for name in bound)
    capped = tuple(name for name in sizes if weights[name] > 0 and tokens[name] >= caps[name])
    whole = min(budget, math.floor(math.fsum(tokens.values()) + 1e-6))
    names = list(sizes)
    counts = dict(zip(names, _largest_remainders([tokens[name] for name in names], whole), strict=True))
    drawn = sum(counts.values())
    shares = {name: count / drawn if drawn else 0.0 for name, count in counts.items()}
    spread = math.fsum(shares[name] ** 2 / min(counts[name], sizes[name]) for name in names if counts[name])
    return Mixture(
        tokens=counts,
        epochs={name: counts[name] / sizes[name] for name in names},
        shares=shares,
        capped=capped,
        shortfall=budget - drawn,
        effective_size=1 / spread if drawn else 0.0,
    )


def _caps(
    sizes: Mapping[str, int], weights: Mapping[str, float], budget: int, most_epochs: float | Mapping[str, float]
) -> dict[str, float]:
    check_size(budget)
    if set(sizes) != set(weights):
        raise ValueError(f"weights must name the sources {sorted(sizes)}, got {sorted(weights)}")
    caps = {}
    for name, size in sizes.items():
        epochs = most_epochs[name] if isinstance(most_epochs, Mapping) else most_epochs
        if size <= 0 or not (math.isfinite(epochs) and epochs > 0):
            raise ValueError(f"size and epochs of {name!r} must be positive, got {size!r} and {epochs!r}")
        if not (math.isfinite(weights[name]) and weights[name] >= 0):
            raise ValueError(f"weight of {name!r} must be a finite number of at least 0, got {weights[name]!r}")
        caps[name] = float(math.floor(size * epochs))
    return caps
