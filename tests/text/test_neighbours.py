"""Edges, clusters and who stays, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.text.neighbours import agreement_needed, clusters_of, cover_clusters, verified_edges


def _signatures(seed: int, n: int = 40) -> np.ndarray:
    """Families of signatures: members differ from their parent in a few numbers."""
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 256, (5, 64), dtype=np.uint8)
    rows = parents[rng.integers(0, 5, n)].copy()
    rows[rng.random((n, 64)) < rng.uniform(0, 0.4, (n, 1))] ^= np.uint8(1)
    return rows


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_every_edge_agrees_and_every_document_is_linked_to_a_leader_it_agrees_with(seed: int) -> None:
    signatures = _signatures(seed)
    rng = np.random.default_rng(seed)
    keys = rng.integers(0, 4, len(signatures)).astype(np.uint64)
    rows = np.arange(len(signatures))
    edges = verified_edges(keys, rows, signatures, 48)
    for left, right in zip(edges.left, edges.right, strict=True):
        assert keys[left] == keys[right] and left < right and (signatures[left] == signatures[right]).sum() >= 48
    leaders = sorted(set(rows) - set(edges.right.tolist()))
    for a in leaders:
        for b in leaders:
            assert a == b or keys[a] != keys[b] or (signatures[a] == signatures[b]).sum() < 48
    shuffled = rng.permutation(len(rows))
    again = verified_edges(keys[shuffled], rows[shuffled], signatures, 48)
    assert np.array_equal(again.left, edges.left) and np.array_equal(again.right, edges.right)


def test_a_bucket_of_strangers_stops_at_its_cap_and_says_so() -> None:
    signatures = np.arange(100, dtype=np.uint8)[:, None].repeat(32, axis=1)
    edges = verified_edges(np.zeros(100, np.uint64), np.arange(100), signatures, 32, leaders=10)
    assert (len(edges.left), edges.n_capped) == (0, 90)
    assert edges.n_candidates == sum(min(i, 10) for i in range(100))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=20))
def test_clusters_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    groups = [{a, b} for a, b in pairs]
    merged: list[set[int]] = []
    for group in groups:
        touching = [m for m in merged if m & group]
        merged = [m for m in merged if not m & group] + [set.union(group, *touching)]
    rows, cluster = clusters_of(*(np.array([p[i] for p in pairs], np.int64) for i in range(2)))
    expected = {row: min(m) for m in merged for row in m}
    assert dict(zip(rows.tolist(), cluster.tolist(), strict=True)) == expected


def test_a_chain_does_not_carry_away_its_far_end() -> None:
    chain = np.zeros((5, 64), np.uint8)
    for step in range(5):
        chain[step, : 8 * step] = 1
    rows = np.arange(5)
    kept_by, agreement = cover_clusters(rows, np.zeros(5, np.int64), chain, 48)
    assert kept_by.tolist() == [0, 0, 0, 3, 3]
    assert agreement.tolist() == [64, 56, 48, 64, 56]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_whoever_goes_resembles_one_who_stays_and_those_who_stay_do_not_resemble_each_other(seed: int) -> None:
    signatures = _signatures(seed)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(signatures)).astype(np.int64)
    cluster = rng.integers(0, 3, len(rows))
    kept_by, agreement = cover_clusters(rows, cluster, signatures, 50)
    for row, head, agreed in zip(rows, kept_by, agreement, strict=True):
        assert (signatures[row] == signatures[head]).sum() == agreed >= 50
        assert kept_by[rows == head][0] == head
    for group in range(3):
        stay = [row for row, head, c in zip(rows, kept_by, cluster, strict=True) if row == head and c == group]
        assert all(a == b or (signatures[a] == signatures[b]).sum() < 50 for a in stay for b in stay)


def test_a_similarity_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not 1\.5"):
        agreement_needed(1.5, 128)
