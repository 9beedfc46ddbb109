"""A verdict told to tools that know in-toto but not us: the companion ``test-result/v0.1`` statement.

A generic policy engine asks one thing of a release: did its tests pass. Of the four answers only *pass* is a
yes. *Not enough evidence* and *invalid* are ``FAILED`` here: a reader that knows three words must not take
doubt for consent. What passed only through a waiver is ``WARNED``.

References
----------
in-toto Attestation Framework, predicate Test Result v0.1 (2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jurat.errors import UnknownName
from jurat.evidence.dsse import statement

__all__ = ["TEST_RESULT_TYPE", "as_test_result"]

TEST_RESULT_TYPE = "https://in-toto.io/attestation/test-result/v0.1"

_VERDICTS = ("fail", "invalid", "not_enough_evidence", "pass")
_PASSED, _WARNED = "clears", "waived"


def as_test_result(
    verdict: str,
    outcomes: Mapping[str, str] | None = None,
    *,
    subject: Mapping[str, str],
    configuration: Mapping[str, str],
) -> dict[str, Any]:
    """Lay out a verdict as an in-toto ``test-result/v0.1`` statement.

    Parameters
    ----------
    verdict
        ``"pass"``, ``"fail"``, ``"not_enough_evidence"`` or ``"invalid"``.
    outcomes
        Outcome by clause name: ``"clears"`` is a passed test, ``"waived"`` a warned one, anything else a
        failed one.
    subject
        What was judged: name to SHA-256 in hex.
    configuration
        What it was held against (the bar): name to SHA-256 in hex.

    Raises
    ------
    UnknownName
        For a verdict that is none of the four.

    References
    ----------
    in-toto Attestation Framework, predicate Test Result v0.1 (2023).

    Examples
    --------
    >>> outcomes = {"help": "clears", "harm": "undecided"}
    >>> s = as_test_result(
    ...     "not_enough_evidence", outcomes, subject={"verdict": "aa"}, configuration={"bar": "bb"}
    ... )
    >>> s["predicate"]["result"], s["predicate"]["passedTests"], s["predicate"]["failedTests"]
    ('FAILED', ['help'], ['harm'])
    """
    if verdict not in _VERDICTS:
        raise UnknownName("verdict", verdict, _VERDICTS)
    outcomes = outcomes or {}
    warned = [name for name, outcome in outcomes.items() if outcome == _WARNED]
    predicate = {
        "result": "FAILED" if verdict != "pass" else "WARNED" if warned else "PASSED",
        "configuration": [{"name": name, "digest": {"sha256": sha}} for name, sha in configuration.items()],
        "passedTests": [name for name, outcome in outcomes.items() if outcome == _PASSED],
        "warnedTests": warned,
        "failedTests": [name for name, outcome in outcomes.items() if outcome not in (_PASSED, _WARNED)],
    }
    return statement(TEST_RESULT_TYPE, predicate, subject=subject)
