"""What would a larger run reach, and how should a budget be split between model size and data?

From a table of finished training runs to a scaling law with intervals, predictions and allocations. Before any of it is
believed, the law is put to the test it will be used for: it is fitted to the smaller runs alone and asked for the largest
ones, whose losses are known. What that shows is reported as it is, run by run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from jurat.errors import DataError, NotEnoughEvidence, UsageError
from jurat.experiments.scaling_runs import ScalingRuns, check_enough, engineering, scientific, training_runs
from jurat.stats.interval import proportion
from jurat.stats.mean import mean
from jurat.stats.result import Interval
from jurat.stats.scaling import BootstrapScaling, bootstrap_scaling_law
from jurat.stats.scaling_prediction import FLOP_PER_PARAMETER_TOKEN, ComputeOptimal, compute_optimal, predict_loss

__all__ = [
    "HeldOutRun",
    "HoldOut",
    "Prediction",
    "ScalingStudy",
    "scaling_study",
]

_COEFFICIENTS = ("A", "B", "E", "alpha", "beta", "exponent")
_COLLINEAR = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The loss of a run that was not made.

    Attributes
    ----------
    parameters, tokens, flop
        The run.
    curve
        Interval of the law at this point.
    new_run
        Interval of one new run's loss, its scatter around the law included.
    extrapolation
        Its compute over that of the largest fitted run.
    """

    parameters: float
    tokens: float
    flop: float
    curve: Interval
    new_run: Interval
    extrapolation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutRun:
    """A run that the fit did not see.

    Attributes
    ----------
    parameters, tokens, flop, loss
        The run as it was.
    predicted
        Interval of a new run by the law of the smaller runs.
    covered
        Whether the loss lies in that interval.
    error
        Loss over prediction, less one: positive where the run was worse than foretold.
    """

    parameters: float
    tokens: float
    flop: float
    loss: float
    predicted: Interval
    covered: bool
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldOut:
    """How well the law of the smaller runs foretold the largest ones.

    Attributes
    ----------
    fitted
        Runs the law was fitted to.
    largest_fitted
        Greatest compute among them, in FLOP.
    reach
        Greatest compute held out over the greatest fitted.
    coverage
        Share of held-out runs inside their intervals. All share one law, so they miss together: its interval, which
        takes them as independent, is too narrow where the law itself is off.
    error, absolute_error
        Mean of the relative errors, with sign and without.
    runs
        Run by run, in order of compute.
    """

    fitted: int
    largest_fitted: float
    reach: float
    coverage: Interval
    error: Interval
    absolute_error: Interval
    runs: tuple[HeldOutRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingStudy:
    """A scaling law with everything it was asked.

    Attributes
    ----------
    runs
        The runs that were fitted.
    dropped
        Runs left out for the height of their loss.
    fit
        The law and its refits.
    level
        Coverage of all intervals.
    coefficients
        Intervals of A, B, E, alpha, beta and of the exponent of the best model size.
    hold_out
        The test on the largest runs, or ``None`` where there are too few (``warnings`` says so) or none was wanted.
    predictions, allocations
        Answers for the models and the budgets that were asked for.
    warnings
        What a reader must know before using a number.
    """

    runs: ScalingRuns
    dropped: int
    fit: BootstrapScaling
    level: float
    coefficients: Mapping[str, Interval]
    hold_out: HoldOut | None
    predictions: tuple[Prediction, ...]
    allocations: tuple[ComputeOptimal, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON types; refits are not listed, the seed makes them again."""
        return {
            "law": asdict(self.fit.law),
            "level": self.level,
            "replicates": len(self.fit.draws),
            "failed_replicates": self.fit.failed,
            "seed": self.fit.seed,
            "runs": len(self.runs.loss),
            "dropped": self.dropped,
            "largest_flop": float(self.runs.flop.max()),
            "coefficients": {name: asdict(found) for name, found in self.coefficients.items()},
            "hold_out": None if self.hold_out is None else asdict(self.hold_out),
            "predictions": [asdict(p) for p in self.predictions],
            "allocations": [asdict(a) for a in self.allocations],
            "warnings": list(self.warnings),
        }

    def __str__(self) -> str:
        law = self.fit.law
        lines = [f"L(N, D) = {law.E:.4g} + {law.A:.4g} / N^{law.alpha:.4g} + {law.B:.4g} / D^{law.beta:.4g}"]
        lines.append(f"{law.n} runs, {self.dropped} dropped, {len(self.fit.draws)} refits, {law.method}")
        lines += [f"  {name:<9} {found}" for name, found in self.coefficients.items()]
        for p in self.predictions:
            lines.append(
                f"loss at N={engineering(p.parameters)}, D={engineering(p.tokens)} ({p.extrapolation:.3g}x compute)"
            )
            lines += [f"  law       {p.curve}", f"  new run   {p.new_run}"]
        for a in self.allocations:
            lines.append(f"best split of {scientific(a.flop)} FLOP")
            lines += [f"  N         {_counted(a.parameters)}", f"  D         {_counted(a.tokens)}"]
            lines += [f"  D/N       {a.tokens_per_parameter}", f"  loss      {a.loss}"]
        if self.hold_out is not None:
            h = self.hold_out
            lines.append(
                f"fitted to {h.fitted} smaller runs, asked for {len(h.runs)} larger (up to {h.reach:.3g}x compute)"
            )
            lines += [f"  coverage  {h.coverage}", f"  error     {h.error}", f"  |error|   {h.absolute_error}"]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])


def _counted(i: Interval) -> str:
    if i.value is None or i.low is None or i.high is None:
        return str(i)
    return f"{engineering(i.value)} [{engineering(i.low)}, {engineering(i.high)}] {i.level:.4g} n={i.n} {i.method}"


def scaling_study(
    table: pa.Table,
    *,
    parameters: str = "parameters",
    tokens: str | None = None,
    flop: str | None = None,
    loss: str = "loss",
    cluster: str | None = None,
    drop_highest: int = 0,
    hold_out: float = 0.2,
    predict: Sequence[tuple[float, float]] = (),
    budget: Sequence[float] = (),
    replicates: int = 400,
    seed: int = 0,
    level: float = 0.95,
) -> ScalingStudy:
    """Fit a scaling law to a table of runs, test it on the largest ones, and answer questions with it.

    Parameters
    ----------
    table
        One row a run.
    parameters, loss
        Columns of model size and of final loss (nats per token).
    tokens, flop
        Column of training tokens, or of training compute from which tokens follow by C = 6 N D; exactly one of them.
    cluster
        Column that names what was trained together (checkpoints of one run); resampled as a whole.
    drop_highest
        Leave out this many runs of the highest loss. A choice made on the outcome: it is reported as a warning.
    hold_out
        Share of the runs, those of the largest compute, to keep from the fit in the test; 0 for no test. The law that
        is reported uses all runs.
    predict
        Models (parameters, tokens) whose loss is asked for.
    budget
        Compute in FLOP whose best split is asked for.
    replicates, seed
        Refits on resampled runs, and their seed.
    level
        Coverage of all intervals.

    Raises
    ------
    UsageError
        Where options contradict each other or lie outside their range.
    UnknownName
        Where a column does not exist.
    DataError
        Where a value is null, not a number or not positive, fewer than 20 runs remain, or size or data do not vary.
    NotEnoughEvidence
        Where the runs do not determine the law.

    References
    ----------
    Hoffmann, J. et al. (2022). Training compute-optimal large language models.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> N, D = np.exp(rng.uniform(18, 23, 60)), np.exp(rng.uniform(20, 26, 60))
    >>> L = (1.8 + 480 / N**0.35 + 2100 / D**0.37) * np.exp(rng.normal(0, 0.004, 60))
    >>> runs = pa.table({"parameters": N, "tokens": D, "loss": L})
    >>> study = scaling_study(runs, tokens="tokens", replicates=100, predict=[(70e9, 1.4e12)])
    >>> round(study.predictions[0].curve.value, 1)
    1.9
    """
    _check_options(tokens, flop, drop_highest, hold_out, (predict, budget), replicates, level)
    everything = training_runs(table, parameters, tokens, flop, loss, cluster)
    kept = np.sort(np.argsort(everything.loss, kind="stable")[: max(len(everything.loss) - drop_highest, 0)])
    runs = everything.chosen(kept)
    check_enough(runs, drop_highest)
    fit = _fitted(runs, replicates, seed)
    predictions = tuple(_prediction(fit, runs, float(N), float(D), level) for N, D in predict)
    allocations = tuple(compute_optimal(fit, float(c), level=level) for c in budget)
    tested, excuse = _hold_out(runs, hold_out, replicates, seed, level) if hold_out > 0 else (None, None)
    warnings = [*_fit_warnings(fit, runs, drop_highest), *_reach_warnings(runs, predictions, allocations)]
    if excuse is not None:
        warnings.append(excuse)
    if tested is not None and tested.coverage.high is not None and tested.coverage.high < level:
        warnings.append(
            f"the law of the smaller runs missed the largest ones: {tested.coverage.value:.0%} of {len(tested.runs)} lie in "
            f"their {level:.4g} intervals; intervals beyond the largest run are too narrow in the same way"
        )
    return ScalingStudy(
        runs=runs,
        dropped=drop_highest,
        fit=fit,
        level=level,
        coefficients={name: fit.interval(name, level=level) for name in _COEFFICIENTS},
        hold_out=tested,
        predictions=predictions,
        allocations=allocations,
        warnings=tuple(warnings),
    )


def _check_options(
    tokens: str | None,
    flop: str | None,
    drop_highest: int,
    hold_out: float,
    asked: tuple[Sequence[tuple[float, float]], Sequence[float]],
    replicates: int,
    level: float,
) -> None:
    if (tokens is None) == (flop is None):
        raise UsageError(
            "say either the column of tokens or the column of compute",
            seen=f"tokens={tokens!r}, flop={flop!r}",
            next_step="give exactly one; with flop, tokens are flop / (6 parameters)",
        )
    if drop_highest < 0 or not 0 <= hold_out < 1 or not 0 < level < 1:
        raise UsageError(
            "an option lies outside its range",
            seen=f"drop_highest={drop_highest!r}, hold_out={hold_out!r}, level={level!r}",
            next_step="drop_highest from 0, hold_out in [0, 1), level in (0, 1)",
        )
    least = int(np.ceil(2 / (1 - level) - 1e-9)) - 1
    if replicates < least:
        raise UsageError(
            f"a {level:.4g} interval needs at least {least} refits", seen=f"{replicates!r}", next_step="ask for 400"
        )
    numbers = [x for pair in asked[0] for x in pair] + list(asked[1])
    if not all(np.isfinite(x) and x > 0 for x in numbers):
        raise UsageError(
            "sizes, tokens and budgets must be positive", seen=str(numbers), next_step='for example "70e9,1.4e12"'
        )


def _fitted(runs: ScalingRuns, replicates: int, seed: int) -> BootstrapScaling:
    try:
        return bootstrap_scaling_law(
            runs.parameters, runs.tokens, runs.loss, replicates=replicates, seed=seed, cluster=runs.cluster
        )
    except ValueError as error:
        raise NotEnoughEvidence(
            "the runs do not determine a scaling law", seen=str(error), next_step="vary model size and data more widely"
        ) from error


def _prediction(fit: BootstrapScaling, runs: ScalingRuns, parameters: float, tokens: float, level: float) -> Prediction:
    compute = FLOP_PER_PARAMETER_TOKEN * parameters * tokens
    return Prediction(
        parameters=parameters,
        tokens=tokens,
        flop=compute,
        curve=predict_loss(fit, parameters, tokens, level=level),
        new_run=predict_loss(fit, parameters, tokens, level=level, new_run=True),
        extrapolation=compute / float(runs.flop.max()),
    )


def _hold_out(
    runs: ScalingRuns, share: float, replicates: int, seed: int, level: float
) -> tuple[HoldOut | None, str | None]:
    """Fit the smaller runs, ask for the largest; or say why that cannot be done."""
    order = np.argsort(runs.flop, kind="stable")
    held = max(round(share * len(order)), 1)
    smaller, larger = runs.chosen(order[:-held]), runs.chosen(order[-held:])
    try:
        check_enough(smaller, 0)
        fit = _fitted(smaller, replicates, seed)
    except (DataError, NotEnoughEvidence) as error:
        return None, f"the law was not tested on held-out runs: {error.what} ({error.seen})"
    tried = []
    for N, D, C, y in zip(larger.parameters, larger.tokens, larger.flop, larger.loss, strict=True):
        found = predict_loss(fit, float(N), float(D), level=level, new_run=True)
        if found.value is None or found.low is None or found.high is None:
            return None, f"the law was not tested on held-out runs: a prediction is {found.reason}"
        tried.append(
            HeldOutRun(
                parameters=float(N),
                tokens=float(D),
                flop=float(C),
                loss=float(y),
                predicted=found,
                covered=bool(found.low <= y <= found.high),
                error=float(y) / found.value - 1,
            )
        )
    errors = np.array([r.error for r in tried])
    largest = float(smaller.flop.max())
    return HoldOut(
        fitted=len(smaller.loss),
        largest_fitted=largest,
        reach=float(larger.flop.max()) / largest,
        coverage=proportion(sum(r.covered for r in tried), len(tried), level=level),
        error=mean(errors, level=level),
        absolute_error=mean(np.abs(errors), level=level),
        runs=tuple(tried),
    ), None


def _fit_warnings(fit: BootstrapScaling, runs: ScalingRuns, dropped: int) -> list[str]:
    found = []
    if dropped:
        found.append(f"{dropped} runs of the highest loss were left out, a choice made on the outcome")
    if not fit.law.stationary:
        found.append("the fit did not reach a stationary point: its coefficients are not the optimum")
    if fit.failed:
        found.append(
            f"{fit.failed} of {len(fit.draws)} refits did not reach a stationary point and widen all intervals"
        )
    together = float(np.corrcoef(np.log(runs.parameters), np.log(runs.tokens))[0, 1])
    if abs(together) > _COLLINEAR:
        found.append(
            f"model size and data vary together (correlation of logs {together:.2f}): the runs hardly tell what each does"
        )
    return found


def _reach_warnings(
    runs: ScalingRuns, predictions: Sequence[Prediction], allocations: Sequence[ComputeOptimal]
) -> list[str]:
    asked = [(f"N={engineering(p.parameters)}, D={engineering(p.tokens)}", p.parameters, p.tokens) for p in predictions]
    for a in allocations:
        if a.parameters.value is not None and a.tokens.value is not None:
            asked.append((f"the split of {scientific(a.flop)} FLOP", a.parameters.value, a.tokens.value))
    found = []
    for name, N, D in asked:
        factors = {
            "compute": FLOP_PER_PARAMETER_TOKEN * N * D / float(runs.flop.max()),
            "model size": N / float(runs.parameters.max()),
            "tokens": D / float(runs.tokens.max()),
        }
        beyond = [f"{factor:.3g} times the {what}" for what, factor in factors.items() if factor > 1 + 1e-9]
        if beyond:
            found.append(f"{name} extrapolates: {', '.join(beyond)} of the largest run")
    return found
