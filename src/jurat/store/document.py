"""TOML documents as checked models: one way to read them, and one way to say what is wrong in them.

A breach is told in the file's own terms: the key, the value that was seen, the near name of a mistyped key, and the page
that says what may stand there.
"""

from __future__ import annotations

import hashlib
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jurat.errors import SpecError, UnknownName

__all__ = ["Document", "Section", "read_document"]

Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A section of a document: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(Generic[Model]):
    """A document as read from its file.

    Attributes
    ----------
    path
        The file.
    sha256
        Digest of the file's bytes: one changed character is another document.
    content
        The checked content.
    """

    path: Path
    sha256: str
    content: Model


def read_document(path: Path, model: type[Model], *, what: str, reference: str) -> Document[Model]:
    """Read a TOML document and check it against its model.

    Parameters
    ----------
    path
        The file.
    model
        What may stand in it.
    what
        What such a document is called, for messages: ``"launch bar"``.
    reference
        Page or file that shows one.

    Raises
    ------
    SpecError
        Where the file is missing, is not UTF-8 or TOML, has an unknown or missing key, or a value out of range.
    """
    if not path.is_file():
        raise SpecError(f"no such {what}", seen=str(path), next_step=f"give the path of the {what}; see {reference}")
    raw = path.read_bytes()
    try:
        content: dict[str, Any] = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(
            f"{path.name} is not valid TOML", seen=str(error), next_step="mend the file at that place"
        ) from error
    try:
        checked = model.model_validate(content)
    except ValidationError as error:
        raise _breach(path, model, error, reference) from error
    return Document(path=path, sha256=hashlib.sha256(raw).hexdigest(), content=checked)


def _breach(path: Path, model: type[BaseModel], error: ValidationError, reference: str) -> SpecError:
    """Tell the first breach; an unknown key before all, for it may be a needed one mistyped."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = sorted(_keys_at(model, first["loc"][:-1]))
        unknown = UnknownName("key", str(first["loc"][-1]), known)
        return SpecError(f"{path.name}: unknown key {place}", seen=unknown.seen, next_step=unknown.next_step)
    if first["type"] == "missing":
        return SpecError(f"{path.name}: the key {place} is missing", seen="nothing there", next_step=f"add {place}")
    message = first["msg"].removeprefix("Value error, ")
    return SpecError(
        f"{path.name}: {place}: {message[0].lower()}{message[1:]}" if place else f"{path.name}: {message}",
        seen=repr(first["input"])[:200],
        next_step=f"see {reference} for what may stand there",
    )


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Keys allowed at a place of the document, found by walking the models."""
    current: Any = model
    parts = iter(location)
    for part in parts:
        if isinstance(part, int):
            continue
        if current is None or part not in current.model_fields:
            return set()
        annotation = current.model_fields[part].annotation
        if _is_mapping(annotation):
            next(parts, None)  # the name that the document's author gave
        current = _model_within(annotation)
    return set() if current is None else set(current.model_fields)


def _is_mapping(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _model_within(annotation: Any) -> Any:
    """Find the model inside ``tuple[Model, ...]``, ``Mapping[str, Model]`` or ``Model | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for argument in typing.get_args(annotation)[1 if _is_mapping(annotation) else 0 :]:
            if (found := _model_within(argument)) is not None:
                return found
    return None
