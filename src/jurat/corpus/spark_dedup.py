"""Deduplication as Spark jobs, with the fates that one machine would give: the same kernels over sorted partitions.

Only keys are shuffled for every document: a band's key and a row number. Signatures travel for documents that share a bucket
with another, and are compared by the kernel of `jurat.text.neighbours`, a batch at a time: what a bucket or a cluster carries
over to its next batch are its leaders, so a bucket of a billion documents needs no more memory than one of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jurat.corpus.dedup import DedupSpec
from jurat.corpus.features import band_names
from jurat.corpus.spark import map_in_arrow
from jurat.errors import DataError, EngineError, UnknownName
from jurat.text.column import TextColumn
from jurat.text.minhash import MinHashSpec
from jurat.text.neighbours import agreement_needed, cover_clusters, verified_edges

__all__ = ["SparkDuplicates", "dedup_in_spark"]

_NEVER = (1 << 63) - 1
"""Where documents without a date stand in an order of dates: last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkDuplicates:
    """Every document's fate, and what it rests on.

    Attributes
    ----------
    table : pyspark.sql.DataFrame
        The columns of `Duplicates.table`, in no order: ``doc_id``, ``fate``, ``kept_by``, ``similarity``, ``cluster``,
        ``cluster_size``. It reads from the scratch folder, so write it before that is removed.
    n_candidates, n_edges, n_capped, n_spared
        See `Duplicates`.
    n_rounds
        Rounds in which the clusters were joined.
    """

    table: Any
    n_candidates: int
    n_edges: int
    n_capped: int
    n_spared: int
    n_rounds: int


def dedup_in_spark(
    features: Any,
    minhash: MinHashSpec,
    spec: DedupSpec | None = None,
    *,
    scratch: str,
    bands_at_once: int | None = None,
    most_rounds: int = 40,
) -> SparkDuplicates:
    """Find the duplicates among scanned documents on a Spark cluster.

    Parameters
    ----------
    features : pyspark.sql.DataFrame
        What `scan_in_spark` gave. It is read several times: write it to Parquet and read it back first.
    minhash
        The specification its signatures were made with.
    spec
        Threshold and preference.
    scratch
        Folder for results in between, as a path or URI that all executors can write; what is there is overwritten. It may
        be removed once the table has been written.
    bands_at_once
        Bands in one shuffle; fewer take more passes and less room on the disks of the executors. All by default.
    most_rounds
        Rounds in which clusters must have been joined.

    Returns
    -------
    SparkDuplicates

    Raises
    ------
    DataError
        Where no document has a word, or two have one id or one row.
    EngineError
        Where the clusters are not joined after that many rounds.
    UnknownName
        Where a column is missing.

    Notes
    -----
    Clusters are joined by alternating large-star and small-star steps until nothing changes: ``O(log² n)`` rounds, and
    about the logarithm of the longest chain in practice.

    References
    ----------
    Kiveris, Lattanzi, Mirrokni, Rastogi, Vassilvitskii (2014). Connected components in MapReduce and beyond. SoCC.
    """
    from pyspark.sql import functions as sql

    spec = spec or DedupSpec()
    names = band_names(minhash)
    for name in ("row", "doc_id", "status", "n_words", "crawled", "content_hash", "sha256", "signature", *names):
        if name not in features.columns:
            raise UnknownName("column", name, features.columns, place="the DataFrame of features")
    needed = agreement_needed(spec.similarity, minhash.permutations)
    keep = _Keeper(scratch=scratch.rstrip("/"), session=features.sparkSession)
    usable = features.filter((sql.col("status") == "read") & (sql.col("n_words") > 0))
    for name in ("doc_id", "row"):
        _refuse_repeats(features, name)
    heads = keep(_heads(usable, spec.prefer), "heads")
    if heads.isEmpty():
        raise DataError(
            "nothing to deduplicate", seen="no document with a word", next_step="look at the scan's reasons"
        )
    alone = usable.join(heads.select("row"), "row", "left_semi")
    marks = alone.select("row", "signature")
    found, step = [], bands_at_once or len(names)
    for first in range(0, len(names), step):
        crowded = keep(_crowded(alone, names[first : first + step]), f"buckets-{first:02d}")
        ready = crowded.join(marks, "row").repartition("band", "key").sortWithinPartitions("band", "key", "row")
        verify = _Verify(needed=needed, leaders=spec.leaders)
        found.append(keep(map_in_arrow(ready, verify, _Verify.ddl), f"compared-{first:02d}"))
    compared = found[0]
    for more in found[1:]:
        compared = compared.unionAll(more)
    tally = compared.agg(sql.sum("candidates"), sql.sum("capped")).first()
    edges = keep(compared.filter("left IS NOT NULL").select("left", "right").distinct(), "edges")
    stars, rounds = _joined(edges, keep, most_rounds)
    covered = keep(_covered(stars, heads, marks, needed), "covered")
    stays = sql.count_if(sql.col("row") == sql.col("kept"))
    spared = covered.agg(stays, sql.count_distinct("cluster")).first()
    return SparkDuplicates(
        table=_fates(usable, heads, covered),
        n_candidates=int(tally[0] or 0),
        n_edges=edges.count(),
        n_capped=int(tally[1] or 0),
        n_spared=int(spared[0] - spared[1]),
        n_rounds=rounds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keeper:
    """Writes a step's result and reads it back, so that no later step computes it again."""

    scratch: str
    session: Any

    def __call__(self, frame: Any, name: str) -> Any:
        path = f"{self.scratch}/{name}"
        frame.write.mode("overwrite").parquet(path)
        return self.session.read.schema(frame.schema).parquet(path)


def _refuse_repeats(frame: Any, name: str) -> None:
    twice = frame.groupBy(name).count().filter("count > 1").sort(name).first()
    if twice is not None:
        raise DataError(
            f"a {name} stands for more than one document",
            seen=f"{twice[0]!r}: {twice[1]} documents",
            next_step="name a field that is unique, or leave the id field out"
            if name == "doc_id"
            else "give each document its own place in the order",
        )


def _order(prefer: str) -> Any:
    """A number by which the preferred document comes first; ties go to the one read first."""
    from pyspark.sql import functions as sql

    if prefer == "longest":
        return -sql.col("n_words").cast("bigint")
    if prefer in ("oldest", "newest"):
        moment = sql.unix_micros("crawled")
        return sql.coalesce(moment if prefer == "oldest" else -moment, sql.lit(_NEVER))
    return sql.lit(0).cast("bigint")


def _heads(usable: Any, prefer: str) -> Any:
    """For each sequence of words the preferred document, and how many have it."""
    from pyspark.sql import functions as sql

    best = sql.struct(_order(prefer).alias("order"), "row", "sha256", "doc_id")
    grouped = usable.groupBy("content_hash").agg(sql.min(best).alias("head"), sql.count(sql.lit(1)).alias("copies"))
    return grouped.select("content_hash", "copies", "head.*")


def _crowded(alone: Any, names: list[str]) -> Any:
    """Members of buckets that hold more than one document."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sql

    keys = sql.array(*[sql.struct(sql.lit(name).alias("band"), sql.col(name).alias("key")) for name in names])
    pairs = alone.select("row", sql.explode(keys).alias("bucket")).select("row", "bucket.*")
    size = sql.count(sql.lit(1)).over(Window.partitionBy("band", "key"))
    return pairs.withColumn("size", size).filter("size > 1").drop("size")


def _joined(edges: Any, keep: Callable[[Any, str], Any], most_rounds: int) -> tuple[Any, int]:
    """Pairs of each row and the least row of its cluster, itself left out."""
    from pyspark.sql import functions as sql

    stars = edges.select(sql.greatest("left", "right").alias("node"), sql.least("left", "right").alias("least"))
    before: Any = None
    for number in range(1, most_rounds + 1):
        stars = keep(_small_star(_large_star(stars)), f"stars-{number % 2}")
        now = stars.agg(sql.count(sql.lit(1)), sql.bit_xor(sql.xxhash64("node", "least"))).first()
        if now == before:
            return stars, number
        before = now
    raise EngineError(
        f"the clusters are not joined after {most_rounds} rounds",
        seen=f"{before[0]:,} pairs still move",
        next_step="allow more rounds (most_rounds), or ask for more similarity: very long chains link unlike documents",
    )


def _large_star(stars: Any) -> Any:
    """Link every greater neighbour of a row to the least row around it."""
    from pyspark.sql import functions as sql

    both = stars.unionAll(stars.select(sql.col("least").alias("node"), sql.col("node").alias("least")))
    both = both.withColumnRenamed("least", "other")
    centre = both.groupBy("node").agg(sql.least(sql.min("other"), sql.col("node")).alias("least"))
    return both.filter("other > node").join(centre, "node").select(sql.col("other").alias("node"), "least").distinct()


def _small_star(stars: Any) -> Any:
    """Link a row and its lesser neighbours to the least of them."""
    from pyspark.sql import functions as sql

    centre = stars.groupBy("node").agg(sql.min("least").alias("centre"))
    others = stars.join(centre, "node").filter("least > centre")
    moved = others.select(sql.col("least").alias("node"), sql.col("centre").alias("least"))
    return moved.unionAll(centre.select("node", sql.col("centre").alias("least"))).distinct()


def _covered(stars: Any, heads: Any, marks: Any, needed: int) -> Any:
    """Members of clusters, each with the one that stays for it."""
    from pyspark.sql import functions as sql

    roots = stars.select(sql.col("least").alias("row"), sql.col("least").alias("cluster")).distinct()
    members = stars.select(sql.col("node").alias("row"), sql.col("least").alias("cluster")).unionAll(roots)
    about = members.join(heads.select("row", "order", "doc_id", "copies"), "row").join(marks, "row")
    ready = about.repartition("cluster").sortWithinPartitions("cluster", "order", "row")
    return map_in_arrow(ready, _Cover(needed=needed), _Cover.ddl)


def _fates(usable: Any, heads: Any, covered: Any) -> Any:
    """One row a document, from the one with its words and the one that stays for that."""
    from pyspark.sql import functions as sql

    clusters = covered.groupBy("cluster").agg(
        sql.sum("copies").alias("size"), sql.min_by("doc_id", "row").alias("least_id")
    )
    near = covered.join(clusters, "cluster").select(
        sql.col("row").alias("head"), "kept", "kept_id", "similarity", "size", "least_id"
    )
    head = heads.select(
        "content_hash", "copies", sql.col("row").alias("head"), sql.col("sha256").alias("head_sha256"),
        sql.col("doc_id").alias("head_id"),
    )  # fmt: skip
    every = (
        usable.select("row", "doc_id", "sha256", "content_hash").join(head, "content_hash").join(near, "head", "left")
    )
    fate = (
        sql.when((sql.col("row") != sql.col("head")) & (sql.col("sha256") == sql.col("head_sha256")), "exact")
        .when(sql.col("row") != sql.col("head"), "format")
        .when(sql.col("kept") != sql.col("row"), "near")
        .otherwise("stays")
    )
    return every.select(
        "doc_id",
        fate.alias("fate"),
        sql.coalesce("kept_id", "head_id").alias("kept_by"),
        sql.coalesce("similarity", sql.lit(1.0)).alias("similarity"),
        sql.coalesce("least_id", "head_id").alias("cluster"),
        sql.coalesce("size", "copies").alias("cluster_size"),
    )


def _matrix(signatures: pa.Array) -> NDArray[np.uint8]:
    column = TextColumn.of(signatures)
    return np.ascontiguousarray(column.data[column.offsets[0] : column.offsets[-1]].reshape(len(column), -1))


def _groups(table: pa.Table, *names: str) -> NDArray[np.int64]:
    """Number of the run of equal values that each row of a sorted table is in."""
    fresh = np.zeros(len(table), np.bool_)
    for name in names:
        codes = table[name].combine_chunks().dictionary_encode().indices.to_numpy()
        fresh[1:] |= codes[1:] != codes[:-1]
    return np.cumsum(fresh)


def _in_parts(
    batches: Iterable[pa.RecordBatch], names: tuple[str, ...]
) -> Iterator[tuple[pa.Table, NDArray[np.int64], int, Callable[[NDArray[np.bool_]], None]]]:
    """Sorted batches, each with the leaders that its first group brings from before.

    Yields the rows, the number of each one's group, how many at the beginning are leaders seen before, and a function to
    be told which rows lead, of which those of the last group are carried over.
    """
    carried: pa.Table | None = None
    for batch in batches:
        if len(batch) == 0:
            continue
        fresh = pa.Table.from_batches([batch])
        goes_on = carried is not None and all(carried[name][0] == fresh[name][0] for name in names)
        table = pa.concat_tables([carried, fresh]) if carried is not None and goes_on else fresh
        groups = _groups(table, *names)
        leading: list[NDArray[np.bool_]] = []
        yield table, groups, len(table) - len(fresh), leading.append
        carried = table.filter(pa.array(leading[0] & (groups == groups[-1])))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verify:
    """Buckets in, sorted by band, key and row; verified pairs and counts of comparisons out."""

    needed: int
    leaders: int

    ddl = "`left` bigint, `right` bigint, `candidates` bigint, `capped` bigint"

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table, groups, seen, lead in _in_parts(batches, ("band", "key")):
            rows = table["row"].to_numpy()
            places = np.arange(len(rows))
            found = verified_edges(
                groups.astype(np.uint64), places, _matrix(table["signature"].combine_chunks()), self.needed,
                leaders=self.leaders,
            )  # fmt: skip
            single = np.ones(len(rows), np.bool_)
            single[found.right] = False
            # Whoever is like no leader leads, until there are as many as a bucket may have.
            before: NDArray[np.int64] = np.cumsum(single) - single
            first = np.concatenate([[True], groups[1:] != groups[:-1]])
            lead(single & (before - before[first][groups] < self.leaders))
            n = len(found.left)
            # Leaders from before are compared with each other once more, which finds nothing and counts for nothing.
            again = seen * (seen - 1) // 2
            yield pa.RecordBatch.from_pydict(
                {
                    "left": pa.array([*rows[found.left], None], pa.int64()),
                    "right": pa.array([*rows[found.right], None], pa.int64()),
                    "candidates": pa.array([0] * n + [found.n_candidates - again], pa.int64()),
                    "capped": pa.array([0] * n + [found.n_capped], pa.int64()),
                }
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cover:
    """Clusters in, sorted by cluster and preference; who stays for each member out."""

    needed: int

    ddl = (
        "`row` bigint, `cluster` bigint, `doc_id` string, `copies` bigint, `kept` bigint, `kept_id` string, "
        "`similarity` double"
    )

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table, groups, seen, lead in _in_parts(batches, ("cluster",)):
            marks = _matrix(table["signature"].combine_chunks())
            places = np.arange(len(table))
            kept, agreed = cover_clusters(places, groups, marks, self.needed)
            lead(kept == places)
            out = table.select(["row", "cluster", "doc_id", "copies"])
            out = out.append_column("kept", table["row"].take(pa.array(kept)))
            out = out.append_column("kept_id", table["doc_id"].take(pa.array(kept)))
            out = out.append_column("similarity", pa.array((agreed / marks.shape[1] - 1 / 256) / (1 - 1 / 256)))
            yield from out.slice(seen).combine_chunks().to_batches()
