"""The page of the data specification names every key that the loader accepts, every choice, every default, every rule."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from jurat.corpus import specification
from jurat.corpus.specification import Limits, Require, RuleSection, Sources, load_specification, rules_of
from jurat.text.quality_columns import COLUMNS
from jurat.text.quality_rules import RULES

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "data-specification.md").read_text(
    encoding="utf-8"
)
_DOCUMENT = specification.DataSpecification.__dataclass_fields__["document"].type
_SECTIONS: dict[str, type[BaseModel]] = {
    "## The file itself": getattr(specification, str(_DOCUMENT)),
    "## `[data]`": Sources,
    "## `[require]`": Require,
    "## `[limits]`": Limits,
    "## `[[rule]]`": RuleSection,
}


def _choices(annotation: Any) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [choice for argument in typing.get_args(annotation) for choice in _choices(argument)]


def _example(folder: Path) -> Path:
    text = re.search(r"```toml\n(.*?)```", PAGE, re.S)
    assert text is not None
    path = folder / "spec.toml"
    path.write_text(text[1], encoding="utf-8")
    return path


@pytest.mark.parametrize("section", _SECTIONS)
def test_every_key_stands_in_its_section_with_its_choices_and_default(section: str) -> None:
    text = PAGE.split(f"\n{section}\n")[1].split("\n## ")[0]
    for key, field in _SECTIONS[section].model_fields.items():
        row = re.search(rf"^\| `{key}` \|.*$", text, re.M)
        if row is None and section == "## The file itself":
            assert f"\n## `[{key}]`\n" in PAGE, key
            continue
        assert row is not None, key
        for choice in _choices(field.annotation):
            assert f'"{choice}"' in row[0], f"{key} may be {choice!r}"
        if field.is_required():
            assert "| needed |" in row[0], f"{key} is needed"
        elif isinstance(field.default, int | float | str):
            shown = f'"{field.default}"' if isinstance(field.default, str) else str(field.default)
            assert f"| `{shown}` |" in row[0], f"{key} is {shown} by default"
        elif field.default is None:
            assert "| none |" in row[0], f"{key} has no default"


@pytest.mark.parametrize("section", _SECTIONS)
def test_the_page_names_no_key_that_the_loader_refuses(section: str) -> None:
    text = PAGE.split(f"\n{section}\n")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) <= set(_SECTIONS[section].model_fields)


def test_every_published_rule_stands_beside_its_collection() -> None:
    for collection in {rule.collection for rule in RULES}:
        row = re.search(rf"^\| `{collection}` \|.*$", PAGE, re.M)
        assert row is not None, collection
        assert re.findall(r"`(\w+)`", row[0].split("|")[2]) == [r.name for r in RULES if r.collection == collection]


def test_the_example_of_the_page_loads_and_its_rules_are_accepted(tmp_path: Path) -> None:
    loaded = load_specification(_example(tmp_path))
    quality = {rule.name: rule.passes for rule in RULES if rule.collection in loaded.document.quality}
    names = [rule.name for rule in rules_of(loaded, [*COLUMNS, "n_words", "pii_count"], quality)]
    assert names[:3] == ["url unknown", "crawled unknown", "licence not admitted"]
    assert names[-2:] == ["too short", "personal data"]
