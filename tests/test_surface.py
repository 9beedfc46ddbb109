"""The public surface: every name exists, explains itself, names its source, and is tested."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import jurat

ROOT = Path(__file__).resolve().parents[1]
TESTS = "\n".join(
    p.read_text(encoding="utf-8") for p in (ROOT / "tests").rglob("test_*.py") if p.name != "test_surface.py"
)
NAMES = [name for name in jurat.__all__ if not name.startswith("__")]
STATISTICS = [name for name in NAMES if jurat._SURFACE[name].startswith("jurat.stats.")]


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_exists_explains_itself_and_is_tested(name: str) -> None:
    thing = getattr(jurat, name)
    text = inspect.getdoc(thing) or ""
    assert text, f"{name} has no docstring"
    assert "Parameters" in text or "Attributes" in text, f"{name} does not explain its arguments"
    assert name in TESTS, f"no test speaks of {name}"


@pytest.mark.parametrize("name", STATISTICS)
def test_every_estimator_names_its_source_and_shows_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(jurat, name)) or ""
    assert "References" in text, f"{name} names no source"
    assert ">>>" in text, f"{name} shows no example"


@pytest.mark.parametrize("name", [n for n in NAMES if n[0].islower()])
def test_every_public_function_is_annotated_in_full(name: str) -> None:
    signature = inspect.signature(getattr(jurat, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        jurat.nonsense  # noqa: B018


def test_the_surface_is_sorted_and_complete() -> None:
    assert sorted(jurat.__all__) == jurat.__all__ == dir(jurat)
