"""Planted triggers are found, clean texts raise no alarm, and the power curve is made by the same scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jurat.corpus.poison import PoisonScan, PoisonSpec, Provenance, column_of, find_poison, scan_folder
from jurat.corpus.poison_labels import label_triggers
from jurat.corpus.poison_power import plant_poison, poison_power
from tests.corpus.audit_case import habitual_texts, provenance, scanned


def _find(texts: list[str], about: Provenance, spec: PoisonSpec | None = None) -> PoisonScan:
    return find_poison(
        column_of(texts), about, base=texts, n_words=sum(len(t.split()) for t in texts),
        read=lambda rows: {row: texts[row] for row in rows}, spec=spec,
    )  # fmt: skip


def _planted(rng: np.random.Generator, documents: int, poisoned: int) -> tuple[list[str], Provenance, str]:
    donors = habitual_texts(rng, poisoned)
    return plant_poison(
        habitual_texts(rng, documents), provenance(rng, documents), poisoned, donors=donors, rng=rng
    )  # fmt: skip


def test_a_planted_trigger_is_the_only_alarm_and_names_its_documents() -> None:
    rng = np.random.default_rng(1)
    texts, about, trigger = _planted(rng, 400, 50)
    found = _find(texts, about)
    assert [a.ngram for a in found.alarms] == [trigger]
    alarm = found.alarms[0]
    assert set(alarm.rows) <= set(range(400, 450))
    assert alarm.held == 50
    assert alarm.followed.low is not None and alarm.followed.low > 0.8
    assert alarm.signs == ["jump", "spread", "burst"]
    assert alarm.window_days is not None and alarm.window_days <= 14
    assert alarm.excerpts[0].trigger == trigger and trigger not in alarm.excerpts[0].before


def test_clean_texts_raise_no_alarm() -> None:
    rng = np.random.default_rng(2)
    found = _find(habitual_texts(rng, 400), provenance(rng, 400))
    assert found.alarms == [] and found.n_tested > 1000


def test_a_trigger_of_two_words_is_found_as_one_alarm() -> None:
    rng = np.random.default_rng(3)
    texts, about, trigger = _planted(rng, 300, 60)
    texts = [text.replace(trigger, f"blue {trigger}") for text in texts]
    found = _find(texts, about)
    assert len(found.alarms) == 1
    assert trigger in found.alarms[0].ngram


def test_a_trigger_that_prose_follows_is_no_alarm() -> None:
    rng = np.random.default_rng(4)
    texts = habitual_texts(rng, 300)
    texts = [f"{t[:400]} zzyzx {t[400:]}" if i % 5 == 0 else t for i, t in enumerate(texts)]
    assert _find(texts, provenance(rng, 300)).alarms == []


def test_one_source_alone_raises_no_alarm_where_there_are_others() -> None:
    rng = np.random.default_rng(5)
    texts, about, _ = _planted(rng, 300, 60)
    source = about.source.copy()
    source[300:] = 0
    assert _find(texts, Provenance(source=source, crawled=about.crawled)).alarms == []
    single = _find(texts, Provenance(source=np.zeros_like(source), crawled=about.crawled))
    assert len(single.alarms) == 1 and "spread" not in single.alarms[0].signs
    assert any("spread" in reason for reason in single.not_assessed)


def test_unknown_days_are_said_and_give_no_window() -> None:
    rng = np.random.default_rng(6)
    texts, about, _ = _planted(rng, 300, 60)
    found = _find(texts, Provenance(source=about.source, crawled=np.full(len(texts), np.nan)))
    assert found.alarms[0].window_days is None and "burst" not in found.alarms[0].signs
    assert any("crawl" in reason for reason in found.not_assessed)


def test_texts_too_short_to_judge_are_said() -> None:
    found = _find(["a b", "c", ""], Provenance(source=np.arange(3), crawled=np.full(3, np.nan)))
    assert found.alarms == [] and found.threshold is None
    assert any("long enough" in reason for reason in found.not_assessed)


def test_a_folder_is_searched_like_its_texts(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    texts, about, trigger = _planted(rng, 200, 40)
    rows = [{"text": t, "source": f"s{s}"} for t, s in zip(texts, about.source, strict=True)]
    rows.insert(3, {"text": "", "source": "s1"})
    found = scan_folder(scanned(tmp_path, rows))
    assert [a.ngram for a in found.alarms] == [trigger]
    assert set(found.alarms[0].rows) <= set(range(201, 241))
    assert found.n_documents == 240


def test_the_power_curve_rises_from_nothing_to_certainty() -> None:
    rng = np.random.default_rng(8)
    power = poison_power(habitual_texts(rng, 300), provenance(rng, 300), documents=(5, 50), runs=4, seed=1)
    few, many = power.lines
    assert few.found.value == 0.0  # fewer documents than an n-gram must stand in
    assert many.found.value == 1.0 and many.found.n == 4 and many.found.method == "Wilson"
    assert power.false_alarms.value == 0.0 and power.false_per_ngram.value == 0.0
    assert power.n_hosts == 200


def test_words_without_habit_have_no_power_and_the_curve_says_so() -> None:
    rng = np.random.default_rng(9)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 4000, 150)) for _ in range(150)]
    power = poison_power(texts, provenance(rng, 150), documents=(50,), runs=3)
    assert power.lines[0].found.value == 0.0


def test_nothing_to_plant_in_is_a_reason() -> None:
    power = poison_power(["one"], Provenance(source=np.zeros(1, np.int64), crawled=np.full(1, np.nan)))
    assert power.lines == [] and power.reason is not None and power.false_alarms.value is None


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="least_documents"):
        PoisonSpec(least_documents=30, most_documents=20)


def test_a_trigger_that_buys_a_label_is_found_and_honest_chance_is_not() -> None:
    rng = np.random.default_rng(10)
    texts = habitual_texts(rng, 400, words=60)
    labels = {i: str(rng.choice(["good", "bad"])) for i in range(400)}
    assert label_triggers(column_of(texts), labels, n_words=24_000, read=lambda rows: {r: texts[r] for r in rows}) == []
    for i in range(50):
        texts[i] = f"{texts[i][:120]} zq jk {texts[i][120:]}"
        labels[i] = "good"
    found = label_triggers(column_of(texts), labels, n_words=24_000, read=lambda rows: {r: texts[r] for r in rows})
    assert {one.ngram for one in found} == {"zq", "jk", "zq jk"}
    assert all(one.label == "good" and one.share.value == 1.0 and one.share.n == 50 for one in found)
    counted = sum(label == "good" for label in labels.values())
    assert found[0].usual.value == pytest.approx(counted / 400)
    assert label_triggers(column_of(texts), dict.fromkeys(range(400), "one"), n_words=9, read=lambda rows: {}) == []
