"""Language by the packaged model, from the first kilobyte, without a network."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jurat.corpus.language import FastTextLanguage, LanguageIdentifier, first_bytes
from jurat.errors import DataError, MissingExtra
from jurat.text.column import TextColumn

fasttext = pytest.importorskip("fasttext")

SENTENCES = {
    "de": "Der Ausschuss hat den Jahresbericht geprüft und die meisten Empfehlungen umgesetzt.",
    "en": "The committee examined the annual report and carried out most of its recommendations.",
    "fr": "Le comité a examiné le rapport annuel et suivi la plupart de ses recommandations.",
    "es": "El comité examinó el informe anual y cumplió la mayoría de sus recomendaciones.",
    "ru": "Комитет изучил годовой отчёт и выполнил большинство рекомендаций.",
    "ja": "委員会は年次報告書を検討し、その勧告のほとんどを実施しました。",
    "ar": "درست اللجنة التقرير السنوي ونفذت معظم توصياته.",
    "hi": "समिति ने वार्षिक रिपोर्ट की जाँच की और उसकी अधिकांश सिफारिशें लागू कीं।",
}


def test_plain_sentences_in_eight_languages_are_told_apart() -> None:
    labels, probabilities = FastTextLanguage()(TextColumn.of(list(SENTENCES.values())))
    assert labels == list(SENTENCES)
    assert probabilities.dtype == np.float64 and np.all((probabilities > 0.5) & (probabilities <= 1.0))


def test_only_the_first_kilobyte_counts() -> None:
    german, english = SENTENCES["de"] + " ", SENTENCES["en"] + " "
    text = german * 20 + english * 500
    labels, _ = FastTextLanguage()(TextColumn.of([text]))
    assert labels == ["de"]
    labels, _ = FastTextLanguage(n_bytes=40_000)(TextColumn.of([text]))
    assert labels == ["en"]


def test_texts_without_letters_and_missing_texts_have_no_language() -> None:
    labels, probabilities = FastTextLanguage()(TextColumn.of(["", None, "123 456", "!?\n…", " "]))
    assert labels == [None] * 5 and probabilities.tolist() == [0.0] * 5


def test_line_ends_do_not_change_the_answer() -> None:
    spread = SENTENCES["fr"].replace(" ", "\r\n")
    plain, lines = FastTextLanguage()(TextColumn.of([SENTENCES["fr"], spread]))[1]
    assert plain == lines


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=60)), max_size=5))
def test_any_text_has_a_label_with_a_probability_or_none(texts: list[str | None]) -> None:
    labels, probabilities = FastTextLanguage()(TextColumn.of(texts))
    assert len(labels) == len(probabilities) == len(texts)
    for label, probability in zip(labels, probabilities, strict=True):
        assert (label is None) == (probability == 0.0) and 0.0 <= probability <= 1.0


@given(st.text(max_size=40), st.integers(0, 60))
def test_the_first_bytes_are_the_longest_run_of_whole_characters(text: str, n: int) -> None:
    found = first_bytes(np.frombuffer(text.encode(), np.uint8), n)
    assert text.startswith(found) and len(found.encode()) <= n
    assert found == text or len(text[: len(found) + 1].encode()) > n


def test_it_can_be_sent_to_another_process_and_fits_the_seam() -> None:
    model = pickle.loads(pickle.dumps(FastTextLanguage()))
    assert isinstance(model, LanguageIdentifier)
    assert model(TextColumn.of([SENTENCES["es"]]))[0] == ["es"]
    assert model.name.startswith("fastText lid.176.ftz sha256:") and model.name.endswith("first 1024 bytes")


def test_a_model_that_is_missing_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such language model"):
        FastTextLanguage(model=tmp_path / "none.ftz")(TextColumn.of(["text"]))
    (tmp_path / "bad.ftz").write_bytes(b"no model")
    with pytest.raises(DataError, match="not a fastText model"):
        FastTextLanguage(model=tmp_path / "bad.ftz")(TextColumn.of(["text"]))


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("jurat.corpus.language.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"jurat\[corpus\]"):
        FastTextLanguage()(TextColumn.of(["text"]))
    monkeypatch.setitem(sys.modules, "fasttext", None)
    (tmp_path / "some.ftz").write_bytes(b"")
    with pytest.raises(MissingExtra, match="fasttext-predict"):
        FastTextLanguage(model=tmp_path / "some.ftz")(TextColumn.of(["text"]))
