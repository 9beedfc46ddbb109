"""`jurat experiments size`: annotators by accuracy or by what their agreement shows."""

from __future__ import annotations

import json

import pytest

from jurat.cli.experiments import size
from jurat.errors import UsageError


def test_agreement_plans_with_the_lower_bound_of_the_accuracy_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    size(0.52, 0.53, agreed=410, agreed_of=500, json=True)
    by_agreement = json.loads(capsys.readouterr().out)
    size(0.52, 0.53, annotator_accuracy=0.9, json=True)
    by_accuracy = json.loads(capsys.readouterr().out)
    assert by_accuracy["exact"] == pytest.approx(61_217.3374881, rel=1e-9)  # research case 14
    assert by_agreement["exact"] > by_accuracy["exact"]
    size(0.52, 0.53, agreed=410, agreed_of=500)
    assert "[87.7, 91.9]: planned with 87.7 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"agreed": 4}, "together"), ({"agreed": 4, "agreed_of": 5, "annotator_accuracy": 0.9}, "together"),
     ({"agreed": 2, "agreed_of": 5}, "no such plan"), ({"agreed": 6, "agreed_of": 5}, "no such plan")],
)  # fmt: skip
def test_impossible_agreement_is_told(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        size(0.52, 0.53, **arguments)  # type: ignore[arg-type]
