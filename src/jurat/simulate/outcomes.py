"""What happens in each turn: what was asked, whether it was refused, how long it took, what it cost.

Refusals, compliance with harm, harmful intents and satisfaction cluster by user: each user has a quantile for
each of them, and the probability at that quantile of a Beta law whose mean is the planted rate of the release
that serves the user. The number of turns is independent of the quantiles, so the expected share over turns is
the planted rate itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jurat.simulate.parameters import EndpointProfile, WorldParameters
from jurat.simulate.randomness import clustered_probability, generator
from jurat.simulate.traffic import Traffic

__all__ = [
    "ERROR_TYPES",
    "Outcomes",
    "draw_outcomes",
    "mean_refusal_tokens",
    "mean_tokens_out",
]

ERROR_TYPES = ("overloaded", "timeout", "upstream")
_ERROR_LIMITS = np.array([0.6, 0.9])
_REFUSAL_MEDIAN, _REFUSAL_SIGMA, _REFUSAL_FLOOR = 28.0, 0.4, 8
_FIRST_TOKEN_SHARE = (0.55, 1.0)  # of the fixed part of the latency
_ERROR_LATENCY_MEDIAN_MS, _ERROR_LATENCY_SIGMA = 2_500.0, 1.1

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """One value a turn, in the order of the traffic.

    Attributes
    ----------
    candidate
        Whether the candidate served the turn.
    harmful
        The true class of the prompt: harmful or benign.
    borderline
        Whether the class cannot be read off the prompt.
    risk_tier
        The rule's tier, 0 to 3.
    error
        Whether the turn ended in an error; then nothing was answered or refused.
    error_probability, error_code
        Probability of that error, and its type as an index into `ERROR_TYPES`.
    refused, blocked
        Whether the assistant refused, and whether a filter did so before the model.
    satisfied
        Whether the user was satisfied; unknown to the assistant unless a thumb says so.
    tokens_in, tokens_out
        Lengths; an error has no tokens out.
    latency_ms, first_token_ms
        Times in milliseconds; the time to the first token means nothing where ``error``.
    cost_usd
        Price of the tokens.
    """

    candidate: Flags
    harmful: Flags
    borderline: Flags
    risk_tier: Integers
    error: Flags
    error_probability: Floats
    error_code: Integers
    refused: Flags
    blocked: Flags
    satisfied: Flags
    tokens_in: Integers
    tokens_out: Integers
    latency_ms: Floats
    first_token_ms: Floats
    cost_usd: Floats

    @property
    def answered_or_refused(self) -> Flags:
        """Turns that got a response: all but the errors."""
        return ~self.error


def draw_outcomes(
    traffic: Traffic, candidate_user: Flags, *, in_incident: Flags, seed: int, parameters: WorldParameters
) -> Outcomes:
    """Draw what happens in each turn.

    Parameters
    ----------
    traffic
        Turns in order of time.
    candidate_user
        For each user, whether the candidate serves them.
    in_incident
        For each turn, whether it falls into an incident.
    seed
        Seed of the world.
    parameters
        What is planted.
    """
    turns = len(traffic.user)
    candidate = candidate_user[traffic.user]
    harmful, borderline, risk_tier = _intents(traffic, len(candidate_user), seed=seed, parameters=parameters)
    model = parameters.traffic
    error_probability = np.where(in_incident, model.incident_error_rate, model.error_rate)
    errors = generator(seed, "errors")
    error = errors.random(turns) < error_probability
    error_code = np.searchsorted(_ERROR_LIMITS, errors.random(turns), side="right")
    probability = _refusal_probability(traffic, candidate_user, harmful, borderline, seed, parameters)
    refused = (generator(seed, "refusals").random(turns) < probability) & ~error
    blocked = refused & harmful & (generator(seed, "blocks").random(turns) < parameters.behaviour.blocked_share)
    tokens_in, tokens_out = _tokens(traffic, refused, error, seed, model.endpoints)
    latency_ms, first_token_ms = _latency(traffic, candidate_user, tokens_out, error, seed, parameters)
    return Outcomes(
        candidate=candidate,
        harmful=harmful,
        borderline=borderline,
        risk_tier=risk_tier,
        error=error,
        error_probability=error_probability,
        error_code=error_code,
        refused=refused,
        blocked=blocked,
        satisfied=_satisfaction(traffic, len(candidate_user), refused, error, seed, parameters),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        latency_ms=latency_ms,
        first_token_ms=first_token_ms,
        cost_usd=_cost(traffic, tokens_in, tokens_out, model.endpoints),
    )


def _quantiles(seed: int, name: str, users: int) -> Floats:
    """One position in (0, 1) a user; the ends are kept out because a Beta law may have its mass there."""
    return np.clip(generator(seed, f"user {name}").random(users), 1e-12, 1.0 - 1e-12)


def _intents(traffic: Traffic, users: int, *, seed: int, parameters: WorldParameters) -> tuple[Flags, Flags, Integers]:
    turns = len(traffic.user)
    behaviour = parameters.behaviour
    harmful_user = clustered_probability(
        _quantiles(seed, "harmful intent", users),
        behaviour.harmful_share,
        correlation=parameters.correlations.harmful_intent,
    )
    harmful = generator(seed, "intents").random(turns) < harmful_user[traffic.user]
    borderline = generator(seed, "borderline").random(turns) < behaviour.borderline_share
    position = generator(seed, "risk tiers").random(turns)
    tiers = [
        np.searchsorted(np.cumsum(shares)[:-1], position, side="right")
        for shares in (behaviour.risk_tiers_benign, behaviour.risk_tiers_harmful)
    ]
    return harmful, borderline, np.where(harmful, tiers[1], tiers[0])


def _refusal_probability(
    traffic: Traffic,
    candidate_user: Flags,
    harmful: Flags,
    borderline: Flags,
    seed: int,
    parameters: WorldParameters,
) -> Floats:
    """Probability that each turn is refused, given its class, its user and the release."""
    users = len(candidate_user)
    correlations = parameters.correlations
    over = _quantiles(seed, "over-refusal", users)
    comply = _quantiles(seed, "harmful compliance", users)
    clear_user, borderline_user, comply_user = np.empty(users), np.empty(users), np.empty(users)
    for release, served in zip(parameters.releases, (~candidate_user, candidate_user), strict=True):
        clear_user[served] = clustered_probability(
            over[served], release.over_refusal, correlation=correlations.over_refusal
        )
        borderline_user[served] = clustered_probability(
            over[served], parameters.borderline_over_refusal(release), correlation=correlations.over_refusal
        )
        comply_user[served] = clustered_probability(
            comply[served], release.harmful_compliance, correlation=correlations.harmful_compliance
        )
    user = traffic.user
    benign = np.where(borderline, borderline_user[user], clear_user[user])
    return np.where(harmful, 1.0 - comply_user[user], benign)


def _satisfaction(
    traffic: Traffic, users: int, refused: Flags, error: Flags, seed: int, parameters: WorldParameters
) -> Flags:
    thumbs, correlation = parameters.thumbs, parameters.correlations.satisfaction
    quantile = _quantiles(seed, "satisfaction", users)
    with_answer = clustered_probability(quantile, thumbs.satisfied_answered, correlation=correlation)
    with_refusal = clustered_probability(quantile, thumbs.satisfied_refused, correlation=correlation)
    probability = np.where(refused, with_refusal[traffic.user], with_answer[traffic.user])
    return (generator(seed, "satisfaction").random(len(refused)) < probability) & ~error


def mean_tokens_out(endpoint: EndpointProfile) -> float:
    """Return the expected length of an answer: one token and a Poisson number around a lognormal."""
    return float(1.0 + endpoint.tokens_out_median * np.exp(endpoint.tokens_out_sigma**2 / 2.0))


def mean_refusal_tokens() -> float:
    """Return the expected length of a refusal, the same on every endpoint."""
    return float(_REFUSAL_FLOOR + _REFUSAL_MEDIAN * np.exp(_REFUSAL_SIGMA**2 / 2.0))


def _tokens(
    traffic: Traffic, refused: Flags, error: Flags, seed: int, endpoints: tuple[EndpointProfile, ...]
) -> tuple[Integers, Integers]:
    """Lengths in and out; a Poisson number around a lognormal, so that the mean has a closed form."""
    turns = len(refused)
    median_in, sigma_in, median_out, sigma_out = (
        np.array([getattr(endpoint, name) for endpoint in endpoints])[traffic.endpoint]
        for name in ("tokens_in_median", "tokens_in_sigma", "tokens_out_median", "tokens_out_sigma")
    )
    draw_in, draw_out = generator(seed, "tokens in"), generator(seed, "tokens out")
    tokens_in = 1 + draw_in.poisson(median_in * np.exp(sigma_in * draw_in.standard_normal(turns)))
    median = np.where(refused, _REFUSAL_MEDIAN, median_out)
    sigma = np.where(refused, _REFUSAL_SIGMA, sigma_out)
    floor = np.where(refused, _REFUSAL_FLOOR, 1)
    tokens_out = floor + draw_out.poisson(median * np.exp(sigma * draw_out.standard_normal(turns)))
    return tokens_in, np.where(error, 0, tokens_out)


def _latency(
    traffic: Traffic,
    candidate_user: Flags,
    tokens_out: Integers,
    error: Flags,
    seed: int,
    parameters: WorldParameters,
) -> tuple[Floats, Floats]:
    """Latency and time to first token in milliseconds, to the microsecond."""
    turns, model = len(error), parameters.traffic
    base = np.array([endpoint.latency_base_ms for endpoint in model.endpoints])[traffic.endpoint]
    per_token = np.array([endpoint.latency_ms_per_token for endpoint in model.endpoints])[traffic.endpoint]
    user_effect = model.latency_user_sigma * generator(seed, "user latency").standard_normal(len(candidate_user))
    noise = generator(seed, "latency")
    standard = noise.standard_normal(turns)
    spread = np.exp(user_effect[traffic.user] + model.latency_sigma * standard)
    failed = _ERROR_LATENCY_MEDIAN_MS * np.exp(_ERROR_LATENCY_SIGMA * standard)
    factors = np.array([release.latency_factor for release in parameters.releases])
    spread *= factors[candidate_user.astype(np.int64)][traffic.user]
    latency_ms = np.where(error, failed, (base + per_token * tokens_out) * spread)
    low, high = _FIRST_TOKEN_SHARE
    first_token_ms = base * spread * (low + (high - low) * noise.random(turns))
    return latency_ms.round(3), first_token_ms.round(3)


def _cost(
    traffic: Traffic, tokens_in: Integers, tokens_out: Integers, endpoints: tuple[EndpointProfile, ...]
) -> Floats:
    price_in = np.array([endpoint.usd_per_million_in for endpoint in endpoints])[traffic.endpoint]
    price_out = np.array([endpoint.usd_per_million_out for endpoint in endpoints])[traffic.endpoint]
    cost: Floats = (tokens_in * price_in + tokens_out * price_out) / 1e6
    return cost
