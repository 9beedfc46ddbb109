"""Jurat: evidence, sworn and checked, from raw crawl to launch.

The public surface, loaded when it is used: ``import jurat`` itself imports nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_SURFACE = {
    "DuckDB": "jurat.store.engine",
    "Estimate": "jurat.evidence.estimate",
    "Evidence": "jurat.evidence.estimate",
    "Lake": "jurat.store.lake",
    "Ledger": "jurat.evidence.ledger",
    "Receipt": "jurat.evidence.estimate",
    "Snapshot": "jurat.store.snapshot",
    "analyse_file": "jurat.experiments.analyse",
    "anytime_proportion": "jurat.stats.rare",
    "benjamini_hochberg": "jurat.stats.multiplicity",
    "bootstrap_ratio": "jurat.stats.resample",
    "catalog": "jurat.metrics.loader",
    "cluster_robust_ols": "jurat.stats.mean",
    "clustered_mean": "jurat.stats.mean",
    "clustered_proportion": "jurat.stats.interval",
    "confidence_sequence": "jurat.stats.sequential",
    "contrast": "jurat.evidence.measure",
    "decontaminate": "jurat.corpus.decontaminate",
    "deduplicate": "jurat.corpus.dedup_run",
    "difference_of_proportions": "jurat.stats.compare",
    "false_positive_table": "jurat.simulate.peeking",
    "find_contamination": "jurat.corpus.contamination",
    "find_duplicates": "jurat.corpus.dedup",
    "fit_scaling_law": "jurat.stats.scaling",
    "freeze_bar": "jurat.launch.freeze",
    "gate": "jurat.corpus.gate_run",
    "hash_words": "jurat.text.words",
    "holm": "jurat.stats.multiplicity",
    "import_source": "jurat.store.source",
    "level_of_arm": "jurat.evidence.measure",
    "load_bar": "jurat.launch.bar",
    "load_or_create_key": "jurat.evidence.keys",
    "load_source": "jurat.store.source",
    "load_spec": "jurat.experiments.spec",
    "lock_spec": "jurat.experiments.registration",
    "mcnemar": "jurat.stats.compare",
    "mean": "jurat.stats.mean",
    "mix_sources": "jurat.corpus.mixture",
    "paired_proportions": "jurat.stats.compare",
    "pii_candidates": "jurat.text.pii",
    "plan_experiment": "jurat.experiments.plan",
    "prediction_powered_mean": "jurat.stats.prediction_powered",
    "proportion": "jurat.stats.interval",
    "quality_counters": "jurat.text.quality",
    "quantile": "jurat.stats.quantile",
    "ratio": "jurat.stats.difference",
    "read_documents": "jurat.corpus.read",
    "read_source": "jurat.store.source",
    "recompute": "jurat.evidence.recompute",
    "review": "jurat.launch.review",
    "rogan_gladen": "jurat.stats.classifier",
    "run": "jurat.metrics.run",
    "sample_ratio_test": "jurat.stats.sample_ratio",
    "scan": "jurat.corpus.scan",
    "score_difference": "jurat.stats.score",
    "score_effect": "jurat.corpus.score_effect",
    "select_subset": "jurat.corpus.select",
    "signatures": "jurat.text.minhash",
    "silver_study": "jurat.evals.silver",
    "simulate_assistant": "jurat.simulate.assistant",
    "simulate_experiment": "jurat.simulate.experiment",
    "summarise": "jurat.evals.summary",
    "synthetic_control": "jurat.stats.synthetic_control",
    "verify_ledger": "jurat.evidence.ledger",
    "verify_review": "jurat.launch.verification",
    "wild_cluster_mean": "jurat.stats.wild",
    "zero_failure_bound": "jurat.stats.interval",
}

__all__ = sorted([*_SURFACE, "__version__"])  # noqa: PLE0605 - made from the one list above


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _SURFACE:
        raise AttributeError(f"module 'jurat' has no attribute {name!r}")
    return getattr(importlib.import_module(_SURFACE[name]), name)


def __dir__() -> list[str]:
    """Names of the public surface."""
    return list(__all__)
