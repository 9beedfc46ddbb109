"""What runs inside Spark's tasks, called without Spark: batches cut anywhere give what one whole table gives."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.corpus.spark import _recast, _spark_type, map_in_arrow, scan_in_spark
from jurat.corpus.spark_dedup import _Cover, _Verify
from jurat.errors import MissingExtra, UsageError
from jurat.text.neighbours import cover_clusters, verified_edges

NEEDED = 12


def documents(seed: int, n: int) -> np.ndarray:
    """Signatures of sixteen numbers that are often nearly alike."""
    rng = np.random.default_rng(seed)
    origin = rng.integers(0, 256, (3, 16), np.uint8)
    marks = origin[rng.integers(0, 3, n)]
    changed = rng.random((n, 16)) < rng.uniform(0, 0.5, (n, 1))
    return np.where(changed, rng.integers(0, 256, (n, 16), np.uint8), marks)


def cut(table: pa.Table, cuts: list[int]) -> Iterator[pa.RecordBatch]:
    places = [0, *sorted(min(c, len(table)) for c in cuts), len(table)]
    batches = [table.slice(a, b - a).combine_chunks().to_batches() for a, b in pairwise(places)]
    return iter([batch for part in batches for batch in part])


def signatures(marks: np.ndarray) -> pa.Array:
    return pa.array([row.tobytes() for row in marks], pa.binary())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(st.integers(0, 40), max_size=12),
)
def test_buckets_that_run_over_batches_give_the_same_pairs_and_counts(
    seed: int, n: int, buckets: int, leaders: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    marks = documents(seed, n)
    keys = np.sort(rng.integers(-2, buckets, n))
    table = pa.table({"band": ["band_00"] * n, "key": keys, "row": np.arange(n) * 10, "signature": signatures(marks)})
    whole = verified_edges(keys.view(np.uint64), np.arange(n), marks, NEEDED, leaders=leaders)
    parts = pa.Table.from_batches(_Verify(needed=NEEDED, leaders=leaders)(cut(table, cuts)))
    pairs = parts.filter(pa.array([left is not None for left in parts["left"].to_pylist()]))
    found = set(zip(pairs["left"].to_pylist(), pairs["right"].to_pylist(), strict=True))
    assert found == set(zip((whole.left * 10).tolist(), (whole.right * 10).tolist(), strict=True))
    assert len(pairs) == len(whole.left)
    assert sum(parts["candidates"].to_pylist()) == whole.n_candidates
    assert sum(parts["capped"].to_pylist()) == whole.n_capped


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 4), st.lists(st.integers(0, 40), max_size=12))
def test_clusters_that_run_over_batches_are_covered_the_same(seed: int, n: int, clusters: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    marks = documents(seed, n)
    cluster = np.sort(rng.integers(0, clusters, n))
    rows = rng.permutation(n) * 7
    table = pa.table(
        {
            "row": rows, "cluster": cluster, "order": np.arange(n), "doc_id": [f"d{row}" for row in rows],
            "copies": np.ones(n, np.int64), "signature": signatures(marks),
        }
    )  # fmt: skip
    kept, agreed = cover_clusters(np.arange(n), cluster, marks, NEEDED)
    parts = pa.Table.from_batches(_Cover(needed=NEEDED)(cut(table, cuts)))
    assert parts["row"].to_pylist() == rows.tolist()
    assert parts["kept"].to_pylist() == rows[kept].tolist()
    assert parts["kept_id"].to_pylist() == [f"d{row}" for row in rows[kept]]
    assert np.allclose(parts["similarity"].to_numpy(), (agreed / 16 - 1 / 256) / (1 - 1 / 256), rtol=0, atol=0)


def test_values_come_back_from_spark_types_to_the_bit() -> None:
    keys = pa.array([0, 2**63, 2**64 - 1, None], pa.uint64())
    inner = pa.array([[{"key": 2**64 - 5, "word": 3}], [], None, [{"key": 1, "word": 2}]],
                     pa.list_(pa.struct([("key", pa.uint64()), ("word", pa.int32())])))  # fmt: skip
    fixed = pa.array([b"ab", None, b"cd", b"\0\0"], pa.binary(2))
    for array in (keys, inner, fixed, inner.slice(1, 3), keys.slice(2)):
        there = _recast(array, _spark_type(array.type))
        assert there.type == _spark_type(array.type) and "uint" not in str(there.type)
        assert _recast(there, array.type).to_pylist() == array.to_pylist()


def test_a_single_path_and_a_missing_pandas_say_what_to_do() -> None:
    with pytest.raises(UsageError, match="sequence of paths"):
        scan_in_spark(None, "web")

    def refuse(function: Any, ddl: str) -> None:
        raise ImportError("Pandas >= 2.2.0 must be installed")

    frame = SimpleNamespace(sparkSession=None, mapInArrow=refuse)
    with pytest.raises(MissingExtra, match=r"jurat\[spark\]"):
        map_in_arrow(frame, iter, "a int")
