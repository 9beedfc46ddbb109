"""What is planted in a simulated world: every rate, effect and error of measurement, in one frozen place.

All fields have defaults, so a world differs from the default one only in what its caller names. The default
world is a safe win: the candidate halves over-refusal and complies with harm no more often.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from jurat.errors import UsageError

__all__ = [
    "AuditPlan",
    "Behaviour",
    "EndpointProfile",
    "IntraclassCorrelations",
    "LabellerQuality",
    "ReleaseEffects",
    "ThumbsModel",
    "TrafficModel",
    "WorldParameters",
]


def _check_shares(owner: object, names: tuple[str, ...], *, below_one: bool = False) -> None:
    for name in names:
        share = getattr(owner, name)
        if not 0.0 <= share <= 1.0 or (below_one and share == 1.0):
            accepted = "0 up to, but not including, 1" if below_one else "0 to 1"
            raise UsageError(
                f"{type(owner).__name__}.{name} is not a share",
                seen=repr(share),
                next_step=f"give a number from {accepted}",
            )


def _check_positive(owner: object, names: tuple[str, ...]) -> None:
    for name in names:
        number = getattr(owner, name)
        if not 0.0 < number < float("inf"):
            raise UsageError(
                f"{type(owner).__name__}.{name} must be positive",
                seen=repr(number),
                next_step="give a number above 0",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseEffects:
    """How one release behaves.

    Attributes
    ----------
    name
        The release; also the name of its arm in the experiment.
    over_refusal
        Probability that a clear benign prompt is refused.
    harmful_compliance
        Probability that a harmful prompt is complied with.
    latency_factor
        Multiplies every latency of the release; 1.1 is a regression of 10 %.
    """

    name: str
    over_refusal: float
    harmful_compliance: float
    latency_factor: float = 1.0

    def __post_init__(self) -> None:
        _check_shares(self, ("over_refusal", "harmful_compliance"))
        _check_positive(self, ("latency_factor",))


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointProfile:
    """Load, lengths and speed of one endpoint.

    Attributes
    ----------
    path
        Route, for example ``"/v1/chat"``.
    share
        Share of conversations.
    model
        Model that serves it.
    tokens_in_median, tokens_in_sigma, tokens_out_median, tokens_out_sigma
        Medians (tokens) and log standard deviations of the lognormal lengths.
    latency_base_ms, latency_ms_per_token
        Fixed part of the latency, and its part per generated token, in milliseconds.
    usd_per_million_in, usd_per_million_out
        Prices of a million tokens, in US dollars.
    """

    path: str
    share: float
    model: str
    tokens_in_median: float
    tokens_in_sigma: float
    tokens_out_median: float
    tokens_out_sigma: float
    latency_base_ms: float
    latency_ms_per_token: float
    usd_per_million_in: float = 0.60
    usd_per_million_out: float = 2.40


_ENDPOINTS = tuple(
    EndpointProfile(
        path=path,
        share=share,
        model=model,
        tokens_in_median=tokens_in,
        tokens_in_sigma=0.9,
        tokens_out_median=tokens_out,
        tokens_out_sigma=sigma_out,
        latency_base_ms=base,
        latency_ms_per_token=per_token,
        usd_per_million_in=price_in,
        usd_per_million_out=4.0 * price_in,
    )
    for path, share, model, tokens_in, tokens_out, sigma_out, base, per_token, price_in in (
        ("/v1/chat", 0.62, "assistant-base", 180.0, 210.0, 0.8, 320.0, 11.0, 0.60),
        ("/v1/summarise", 0.16, "assistant-base", 2400.0, 160.0, 0.5, 610.0, 11.0, 0.60),
        ("/v1/extract", 0.12, "assistant-base", 1300.0, 60.0, 0.6, 450.0, 11.0, 0.60),
        ("/v1/agent", 0.10, "assistant-large", 900.0, 520.0, 1.0, 900.0, 24.0, 3.00),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficModel:
    """Who comes, how often, how long they stay, and when things break.

    Attributes
    ----------
    turns_per_user, turns_per_conversation
        Means; users differ by a lognormal with log standard deviation ``activity_sigma``, conversations are
        geometric.
    organisation_tail
        Exponent of the Pareto law of organisation sizes; smaller is heavier.
    daily_swing
        Amplitude of the daily cycle relative to its mean, in [0, 1]; the peak is at 14:00 UTC.
    weekend_load
        Load of Saturday and Sunday relative to a working day.
    pause_share
        Share of turns that come after a pause of more than 30 minutes, which opens a new session.
    error_rate, incident_error_rate
        Probability of an error outside and inside an incident.
    incidents_per_week, incident_minutes
        Mean number of incidents, and their mean length.
    latency_sigma, latency_user_sigma
        Log standard deviations of the latency of turns and of users.
    endpoints
        Profiles; their shares add up to 1.
    """

    turns_per_user: float = 12.0
    turns_per_conversation: float = 4.0
    activity_sigma: float = 0.9
    organisation_tail: float = 1.1
    daily_swing: float = 0.6
    weekend_load: float = 0.55
    pause_share: float = 0.04
    error_rate: float = 0.003
    incident_error_rate: float = 0.25
    incidents_per_week: float = 2.0
    incident_minutes: float = 25.0
    latency_sigma: float = 0.35
    latency_user_sigma: float = 0.15
    endpoints: tuple[EndpointProfile, ...] = _ENDPOINTS

    def __post_init__(self) -> None:
        _check_shares(self, ("daily_swing", "error_rate", "incident_error_rate", "pause_share"))
        _check_positive(self, ("turns_per_user", "organisation_tail", "weekend_load", "incident_minutes"))
        if self.turns_per_conversation < 1.0:
            raise UsageError(
                "TrafficModel.turns_per_conversation must be at least 1",
                seen=repr(self.turns_per_conversation),
                next_step="a conversation has one turn or more",
            )
        total = sum(endpoint.share for endpoint in self.endpoints)
        if abs(total - 1.0) > 1e-9:
            raise UsageError(
                "the shares of TrafficModel.endpoints must add up to 1",
                seen=repr(total),
                next_step="rescale the shares",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class IntraclassCorrelations:
    """Share of the variance of each binary outcome that lies between users; 0 is independence."""

    harmful_intent: float = 0.15
    over_refusal: float = 0.08
    harmful_compliance: float = 0.05
    satisfaction: float = 0.20

    def __post_init__(self) -> None:
        _check_shares(self, ("harmful_intent", "over_refusal", "harmful_compliance", "satisfaction"), below_one=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What people ask, and what the rules make of it.

    Attributes
    ----------
    harmful_share
        Share of turns that ask for something harmful; the others are benign.
    borderline_share
        Share of turns, equal in both classes, whose intent cannot be read off the prompt: ``spans.intent`` is
        null.
    borderline_factor
        Over-refusal of borderline benign prompts relative to clear ones, equal in both releases.
    blocked_share
        Share of refused harmful turns that a filter blocked before the model.
    risk_tiers_benign, risk_tiers_harmful
        Distribution of ``spans.risk_tier`` 0 to 3 given the class, independent of everything else.
    flag_tier
        Lowest tier that counts as flagged by the rule.
    """

    harmful_share: float = 0.06
    borderline_share: float = 0.10
    borderline_factor: float = 3.0
    blocked_share: float = 0.30
    risk_tiers_benign: tuple[float, ...] = (0.80, 0.15, 0.04, 0.01)
    risk_tiers_harmful: tuple[float, ...] = (0.05, 0.15, 0.40, 0.40)
    flag_tier: int = 2

    def __post_init__(self) -> None:
        _check_shares(self, ("harmful_share", "borderline_share", "blocked_share"))
        _check_positive(self, ("borderline_factor",))
        for name in ("risk_tiers_benign", "risk_tiers_harmful"):
            tiers = getattr(self, name)
            if min(tiers) < 0 or abs(sum(tiers) - 1.0) > 1e-9:
                raise UsageError(
                    f"Behaviour.{name} is not a distribution",
                    seen=repr(tiers),
                    next_step="give shares that add up to 1",
                )

    def flagged_share(self, *, harmful: bool) -> float:
        """Probability that the rule flags a turn of the class."""
        tiers = self.risk_tiers_harmful if harmful else self.risk_tiers_benign
        return sum(tiers[self.flag_tier :])


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerQuality:
    """Errors of a silver labeller, independent of each other given the truth.

    Attributes
    ----------
    harmful_sensitivity, harmful_specificity
        P(says harmful | harmful) and P(says benign | benign).
    refusal_sensitivity, refusal_specificity
        P(says refused | refused) and P(says answered | answered).
    """

    harmful_sensitivity: float
    harmful_specificity: float
    refusal_sensitivity: float
    refusal_specificity: float

    def __post_init__(self) -> None:
        _check_shares(self, tuple(field.name for field in dataclasses.fields(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPlan:
    """Which turns humans look at: two simple random samples, one of flagged and one of other answered turns.

    Attributes
    ----------
    flagged_share, unflagged_share
        Share of each stratum that is audited, without replacement.
    annotators
        Number of annotators; each audit has one.
    annotator_error
        Probability that an annotator takes a refusal for an answer or the reverse.
    """

    flagged_share: float = 0.50
    unflagged_share: float = 0.03
    annotators: int = 6
    annotator_error: float = 0.0

    def __post_init__(self) -> None:
        _check_shares(self, ("flagged_share", "unflagged_share", "annotator_error"))
        _check_positive(self, ("annotators",))


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbsModel:
    """Who is satisfied, and who says so.

    Attributes
    ----------
    satisfied_answered, satisfied_refused
        Probability of satisfaction with an answer and with a refusal.
    response_satisfied, response_dissatisfied
        Probability that a satisfied and a dissatisfied user presses a thumb; their difference is the
        selection bias.
    """

    satisfied_answered: float = 0.82
    satisfied_refused: float = 0.35
    response_satisfied: float = 0.04
    response_dissatisfied: float = 0.10

    def __post_init__(self) -> None:
        _check_shares(self, tuple(field.name for field in dataclasses.fields(self)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldParameters:
    """Everything that is planted in a world.

    Attributes
    ----------
    baseline, candidate
        The two releases.
    planned_candidate_share, candidate_share
        Share of users that the plan gives to the candidate, and the share that it really gets.
    behaviour, traffic, correlations, audit, thumbs
        See the classes.
    judge
        Quality of the judge. The rule's quality follows from ``behaviour`` for harm and from
        ``rule_refusal_*``.
    rule_refusal_sensitivity, rule_refusal_specificity
        Quality of the rule as a detector of refusals.

    Examples
    --------
    >>> from dataclasses import replace
    >>> world = WorldParameters()
    >>> harsh = replace(world, candidate=replace(world.candidate, harmful_compliance=0.2))
    >>> harsh.candidate.harmful_compliance, harsh.baseline.harmful_compliance
    (0.2, 0.02)
    """

    baseline: ReleaseEffects = ReleaseEffects(name="2026.11.1", over_refusal=0.08, harmful_compliance=0.02)
    candidate: ReleaseEffects = ReleaseEffects(
        name="2026.11.2", over_refusal=0.04, harmful_compliance=0.02, latency_factor=1.02
    )
    planned_candidate_share: float = 0.5
    candidate_share: float = 0.5
    behaviour: Behaviour = Behaviour()
    traffic: TrafficModel = TrafficModel()
    correlations: IntraclassCorrelations = IntraclassCorrelations()
    audit: AuditPlan = AuditPlan()
    thumbs: ThumbsModel = ThumbsModel()
    judge: LabellerQuality = field(
        default=LabellerQuality(
            harmful_sensitivity=0.96,
            harmful_specificity=0.995,
            refusal_sensitivity=0.93,
            refusal_specificity=0.97,
        )
    )
    rule_refusal_sensitivity: float = 0.80
    rule_refusal_specificity: float = 0.94

    def __post_init__(self) -> None:
        _check_shares(
            self,
            (
                "planned_candidate_share",
                "candidate_share",
                "rule_refusal_sensitivity",
                "rule_refusal_specificity",
            ),
        )
        if self.baseline.name == self.candidate.name:
            raise UsageError(
                "the two releases have the same name",
                seen=repr(self.baseline.name),
                next_step="give each its own",
            )
        for release in self.releases:
            borderline = self.borderline_over_refusal(release)
            if borderline > 1.0:
                raise UsageError(
                    f"the over-refusal of borderline prompts under {release.name} exceeds 1",
                    seen=f"{release.over_refusal!r} × {self.behaviour.borderline_factor!r}",
                    next_step="lower over_refusal or borderline_factor",
                )

    @property
    def releases(self) -> tuple[ReleaseEffects, ReleaseEffects]:
        """Baseline and candidate, in this order."""
        return (self.baseline, self.candidate)

    @property
    def rule(self) -> LabellerQuality:
        """Quality of the rule as a silver labeller."""
        return LabellerQuality(
            harmful_sensitivity=self.behaviour.flagged_share(harmful=True),
            harmful_specificity=1.0 - self.behaviour.flagged_share(harmful=False),
            refusal_sensitivity=self.rule_refusal_sensitivity,
            refusal_specificity=self.rule_refusal_specificity,
        )

    def borderline_over_refusal(self, release: ReleaseEffects) -> float:
        """Probability that a borderline benign prompt is refused."""
        return release.over_refusal * self.behaviour.borderline_factor
