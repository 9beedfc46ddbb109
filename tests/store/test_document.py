"""TOML documents as models: a breach is told in the file's own terms, wherever in it it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from jurat.errors import SpecError
from jurat.store.document import Section, read_document


class Item(Section):
    name: str
    size: float = Field(default=1.0, gt=0)
    colour: Literal["red", "green"] = "red"


class Whole(Section):
    title: str
    item: tuple[Item, ...] = ()
    named: Mapping[str, Item] = {}
    maybe: Item | None = None

    @field_validator("title")
    @classmethod
    def _spoken(cls, value: str) -> str:
        if value == "":
            raise ValueError("The title says nothing")
        return value


def read(folder: Path, text: str | bytes) -> Whole:
    path = folder / "thing.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path, Whole, what="thing", reference="docs/thing.md").content


def test_a_document_reads_with_the_digest_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "thing.toml"
    path.write_text('title = "ö"\n[[item]]\nname = "a"\n', encoding="utf-8")
    found = read_document(path, Whole, what="thing", reference="docs/thing.md")
    assert found.content.title == "ö" and found.content.item[0].size == 1.0
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() and found.path == path
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert read_document(path, Whole, what="thing", reference="x").sha256 != found.sha256


def test_what_was_read_does_not_change(tmp_path: Path) -> None:
    found = read(tmp_path, 'title = "a"')
    with pytest.raises(ValidationError):
        found.title = "b"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('titel = "a"', ("unknown key titel", "did you mean 'title'")),
        ('title = "a"\n[[item]]\nnome = "x"', ("unknown key item.0.nome", "did you mean 'name'")),
        ('title = "a"\n[[item]]\nname = "x"\n[[item]]\nname = "y"\nsizes = 2', ("unknown key item.1.sizes", "'size'")),
        (
            'title = "a"\n[named.mine]\nname = "x"\ncolor = "red"',
            ("unknown key named.mine.color", "did you mean 'colour'"),
        ),
        ('title = "a"\n[maybe]\nname = "x"\nszie = 2', ("unknown key maybe.szie", "did you mean 'size'")),
        ("", ("the key title is missing", "add title")),
        ('title = "a"\n[[item]]\nsize = 2', ("the key item.0.name is missing",)),
        ('title = "a"\n[[item]]\nname = "x"\nsize = 0', ("item.0.size: input should be greater than 0", "seen: 0")),
        ('title = "a"\n[[item]]\nname = "x"\nsize = nan', ("item.0.size",)),
        ('title = "a"\n[[item]]\nname = "x"\nsize = inf', ("item.0.size",)),
        ('title = "a"\n[[item]]\nname = "x"\ncolour = "blue"', ("item.0.colour", "'blue'", "see docs/thing.md")),
        ("title = 3", ("title: input should be a valid string", "seen: 3")),
        ('title = ""', ("title: the title says nothing",)),
        ('title = "a"\nitem = 3', ("item",)),
        ('title = "a"\ntitle = "b"', ("thing.toml is not valid TOML",)),
        ('title = "a', ("thing.toml is not valid TOML", "Unterminated string")),
        (b'title = "\xff"', ("thing.toml is not valid TOML",)),
    ],
)
def test_a_breach_names_the_key_what_was_seen_and_what_to_do(
    tmp_path: Path, text: str | bytes, told: tuple[str, ...]
) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    said = str(caught.value)
    for part in (*told, "seen:", "next:"):
        assert part in said, said


def test_a_mistyped_needed_key_is_told_as_mistyped_and_not_as_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"unknown key item\.0\.nmae") as caught:
        read(tmp_path, 'title = "a"\n[[item]]\nnmae = "x"')
    assert "missing" not in str(caught.value)


def test_a_long_value_is_cut_in_the_message(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path, f'title = "a"\n[[item]]\nname = "x"\ncolour = "{"b" * 5_000}"')
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("what", ["missing", "folder"])
def test_a_file_that_is_not_there_is_told(tmp_path: Path, what: str) -> None:
    path = tmp_path if what == "folder" else tmp_path / "none.toml"
    with pytest.raises(SpecError, match="no such thing") as caught:
        read_document(path, Whole, what="thing", reference="docs/thing.md")
    assert str(path) in str(caught.value) and "docs/thing.md" in str(caught.value)
