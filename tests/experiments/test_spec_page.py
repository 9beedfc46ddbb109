"""The page of the spec names every key that the loader accepts, every choice and every default that it promises."""

from __future__ import annotations

import re
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jurat.experiments.spec import CHECKS, SpecDocument, load_spec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "experiment-spec.md").read_text(encoding="utf-8")


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The model and every model that stands in it, each once."""
    found = [model]
    for field in model.model_fields.values():
        for inner in _within(field.annotation):
            found += [m for m in _models(inner) if m not in found]
    return found


def _within(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in typing.get_args(annotation) for m in _within(argument)]


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(a) for a in typing.get_args(annotation)]
    return [c for argument in typing.get_args(annotation) for c in _choices(argument)]


_MODELS = _models(SpecDocument)
_SECTIONS = {
    name: field.annotation
    for name, field in SpecDocument.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}


@pytest.mark.parametrize("model", _MODELS, ids=lambda m: m.__name__)
def test_every_key_that_the_loader_accepts_is_named_in_the_page(model: type[BaseModel]) -> None:
    rows = set(re.findall(r"^\| `(?:\w+\.)?(\w+)` \|", PAGE, re.M))
    places = set(re.findall(r"^## .*$", PAGE, re.M))
    heads = {word for place in places for word in re.findall(r"`\[+(\w+)", place)}
    missing = [key for key in model.model_fields if key not in rows | heads]
    assert not missing


@pytest.mark.parametrize("section", sorted(_SECTIONS))
def test_every_key_stands_under_its_own_section(section: str) -> None:
    whole = section in ("simpson", "trade_off", "traffic")
    start = re.search(rf"^## .*`\[{section}\]`.*$", PAGE, re.M)
    assert start is not None
    text = PAGE[start.end() :].split("\n## ")[0]
    for key, field in _SECTIONS[section].model_fields.items():
        row = re.search(rf"^\| `{section + '.' if whole else ''}{key}` \|.*$", text, re.M)
        assert row is not None, key
        for choice in _choices(field.annotation):
            assert f'"{choice}"' in row[0], f"{section}.{key} may be {choice!r}"
        if field.is_required():
            assert "| needed |" in row[0], f"{section}.{key} is needed"
        elif isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
            shown = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
            assert f"`{shown}`" in row[0], f"{section}.{key} is {shown} by default"


def test_every_check_has_its_row_in_the_order_they_are_made() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.split("## Checks")[1], re.M)
    assert tuple(rows) == CHECKS


def test_the_example_of_the_page_is_a_spec(tmp_path: Path) -> None:
    text = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert text is not None
    path = tmp_path / "experiment.toml"
    path.write_text(text[1], encoding="utf-8")
    document: Mapping[str, Any] = tomllib.loads(text[1])
    assert load_spec(path).document.id == document["id"]
