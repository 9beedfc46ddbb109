"""What a scan reads and computes, and how to read the same documents again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa

from jurat.corpus.benchmarks import BenchmarkSource
from jurat.corpus.document import Limits
from jurat.corpus.extraction import Extractor, ResiliparseExtractor, TrafilaturaExtractor
from jurat.corpus.files import InputFile
from jurat.corpus.read import read_documents
from jurat.corpus.shards import ShardFolder
from jurat.errors import UnknownName
from jurat.text.minhash import MinHashSpec
from jurat.text.passages import PassageSpec

__all__ = ["ScanSpec", "minhash_of", "read_unit", "spec_of"]

_EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "resiliparse": ResiliparseExtractor,
    "trafilatura": TrafilaturaExtractor,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanSpec:
    """What is read and computed; a shard made with another one is made anew.

    Attributes
    ----------
    text_field, id_field, source, licence, missing_text
        See `read_documents`.
    document_bytes
        A larger document is quarantined.
    extractor
        How pages become text: ``resiliparse`` or ``trafilatura``.
    language
        Model for language: ``fasttext`` (in the extra ``corpus``) or ``none``.
    minhash
        Shingles and bands.
    passages
        Windows for repeated passages; ``None`` for none.
    benchmarks
        Files with items to look for.
    sample
        Documents of each shard whose text is kept aside, for measuring and auditing.
    batch_bytes
        Text worked on at a time; bounds the memory.
    """

    text_field: str = "text"
    id_field: str | None = None
    source: str | None = None
    licence: str | None = None
    missing_text: Literal["refuse", "quarantine"] = "refuse"
    document_bytes: int = Limits().document_bytes
    extractor: str = "resiliparse"
    language: Literal["fasttext", "none"] = "none"
    minhash: MinHashSpec = field(default_factory=MinHashSpec)
    passages: PassageSpec | None = field(default_factory=PassageSpec)
    benchmarks: tuple[BenchmarkSource, ...] = ()
    sample: int = 2000
    batch_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        if self.extractor not in _EXTRACTORS:
            raise UnknownName("extractor", self.extractor, _EXTRACTORS)
        if self.language not in ("fasttext", "none"):
            raise UnknownName("language model", self.language, ["fasttext", "none"])

    def document(self) -> dict[str, Any]:
        """The specification as plain values."""
        plain = asdict(self)
        plain["benchmarks"] = [{**b, "path": str(b["path"])} for b in plain["benchmarks"]]
        return plain


def minhash_of(folder: ShardFolder) -> MinHashSpec:
    """Specification of a scan's signatures."""
    return MinHashSpec(**folder.manifest()["spec"]["minhash"])


def spec_of(folder: ShardFolder) -> ScanSpec:
    """Specification of a scan, without the benchmarks, which are files of their own."""
    plain = folder.manifest()["spec"]
    passages = plain["passages"]
    return ScanSpec(
        **{k: v for k, v in plain.items() if k not in ("minhash", "passages", "benchmarks")},
        minhash=MinHashSpec(**plain["minhash"]),
        passages=None if passages is None else PassageSpec(**passages),
    )


def read_unit(unit: list[InputFile], spec: ScanSpec) -> Iterator[pa.RecordBatch]:
    """Read a unit's documents as a scan does."""
    return read_documents(
        unit,
        batch_bytes=spec.batch_bytes,
        text_field=spec.text_field,
        id_field=spec.id_field,
        source=spec.source,
        licence=spec.licence,
        missing_text=spec.missing_text,
        extractor=_EXTRACTORS[spec.extractor](),
        limits=Limits(document_bytes=spec.document_bytes),
    )
