"""Candidates for personal data against regular expressions of the same forms."""

from __future__ import annotations

import ipaddress
import math
import re
import time
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jurat.text.column import TextColumn
from jurat.text.pii import PII_KINDS, pii_candidates, redact
from jurat.text.pii_numbers import IBAN_LENGTHS

ALNUM = rb"[0-9A-Za-z]"
OCTET = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
LABEL = rb"-----%s (?=[A-Z0-9 ]{0,40}?PRIVATE)(?:[A-Z0-9 ]{0,39} )?PRIVATE KEY(?: BLOCK)?-----"
PATTERNS = {
    "ipv4": rb"(?<![0-9A-Za-z.])(?:%s\.){3}%s(?![0-9A-Za-z]|\.[0-9])" % (OCTET, OCTET),
    "aws_key": rb"(?<![0-9A-Za-z_-])(?:AKIA|ASIA)[A-Z0-9]{16}(?![0-9A-Za-z])",
    "slack_token": rb"(?<![0-9A-Za-z_-])xox[abeoprs]-[A-Za-z0-9-]{10,250}(?![A-Za-z0-9-])",
    "github_token": (
        rb"(?<![0-9A-Za-z_-])(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})(?![A-Za-z0-9_])"
    ),
    "json_web_token": rb"(?<![0-9A-Za-z_.-])eyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+",
}


def luhn(number: bytes) -> bool:
    digits = [int(d) for d in number.decode() if d.isdigit()][::-1]
    return sum(d if i % 2 == 0 else sum(divmod(2 * d, 10)) for i, d in enumerate(digits)) % 10 == 0


def emails(text: bytes) -> list[tuple[int, int]]:
    found = []
    for match in re.finditer(rb"(?<![A-Za-z0-9._%+-])([A-Za-z0-9._%+-]{1,64})(?=@([A-Za-z0-9.-]+))", text):
        local, domain = match[1], match[2]
        kept = re.sub(rb"^[^A-Za-z0-9_]+", b"", local)
        if len(domain) > 253 or local.endswith(b".") or not kept:
            continue
        domain = re.sub(rb"[.-]+$", b"", domain)
        labels = domain.split(b".")
        is_label = all(re.fullmatch(rb"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", label) for label in labels)
        if is_label and len(labels) > 1 and re.fullmatch(rb"[A-Za-z]{2,24}", labels[-1]):
            found.append((match.end() - len(kept), match.end() + 1 + len(domain)))
    return found


def phones(text: bytes) -> list[tuple[int, int]]:
    found = []
    for match in re.finditer(rb"(?<![0-9A-Za-z+])(?=(\+[1-9](?:[ .-]?\(?[0-9]\)?)*+)(?![0-9A-Za-z]))", text):
        if 8 <= sum(48 <= byte <= 57 for byte in match[1]) <= 15:
            found.append(match.span(1))
    pattern = (
        rb"(?<![0-9A-Za-z.+-])(?=((?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[2-9][0-9]{2}[ .-][0-9]{4})"
        rb"(?![0-9A-Za-z]|[.-][0-9]))"
    )
    return found + [match.span(1) for match in re.finditer(pattern, text)]


def ipv6(text: bytes) -> list[tuple[int, int]]:
    found = []
    for match in re.finditer(rb"(?<![0-9A-Za-z:.])[0-9A-Fa-f:]++(?![0-9A-Za-z]|\.[0-9])", text):
        value = match[0]
        if len(value) > 40:
            continue
        value = value[:-1] if value.endswith(b":") and not value.endswith(b"::") else value
        groups = [group for group in value.split(b":") if group]
        try:
            ipaddress.IPv6Address(value.decode())
        except ValueError:
            continue
        if len(groups) == 8 or (len(groups) >= 2 and re.search(rb"[0-9]", value)):
            found.append((match.start(), match.start() + len(value)))
    return found


def cards(text: bytes) -> list[tuple[int, int]]:
    edge = rb"(?![0-9A-Za-z])"
    forms = (
        rb"[2-6][0-9]{12,18}",
        rb"[2-6][0-9]{3}([ -])[0-9]{4}\2[0-9]{4}\2[0-9]{4}\2[0-9]{3}",
        rb"[2-6][0-9]{3}([ -])[0-9]{4}\2[0-9]{4}\2[0-9]{4}",
        rb"[2-6][0-9]{3}([ -])[0-9]{6}\2[0-9]{5}",
    )
    found: dict[int, int] = {}
    for form in forms:
        for match in re.finditer(rb"(?<![0-9A-Za-z.])(?=(%s)%s)" % (form, edge), text):
            if luhn(match[1]):
                found.setdefault(match.start(1), match.end(1))
    return list(found.items())


def ibans(text: bytes) -> list[tuple[int, int]]:
    found = []
    for country, length in IBAN_LENGTHS.items():
        rest = length - 4
        spaced = rb"(?: [A-Z0-9]{4}){%d}" % (rest // 4) + (rb" [A-Z0-9]{%d}" % (rest % 4) if rest % 4 else b"")
        pattern = rb"(?<![0-9A-Za-z])(?=(%s[0-9]{2}(?:[A-Z0-9]{%d}|%s))(?![0-9A-Za-z]))" % (
            country.encode(),
            rest,
            spaced,
        )
        for match in re.finditer(pattern, text):
            plain = match[1].replace(b" ", b"").decode()
            if int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1:
                found.append(match.span(1))
    return found


def private_keys(text: bytes) -> list[tuple[int, int]]:
    found, at = [], 0
    while head := re.compile(LABEL % b"BEGIN").search(text, at):
        following = text.find(b"-----BEGIN ", head.end())
        # Dashes that close an end may open the next block: where the end begins decides.
        tail = re.compile(LABEL % b"END").search(text, head.end())
        is_own = tail and (following < 0 or tail.start() < following)
        span = (head.start(), tail.end() if tail and is_own else head.end())
        found.append(span)
        at = span[1]
    return found


def secrets(text: bytes) -> list[tuple[int, int]]:
    pattern = (
        rb"(?i)(?:key|token|secret|password|passwd|pwd)[\"']?[ \t]{0,3}[:=](?=[ \t]{0,3}+[\"']?+"
        rb"([A-Za-z0-9+/=_.-]{16,128})(?![A-Za-z0-9+/=_.-]))"
    )
    found = []
    for match in re.finditer(pattern, text):
        value = match[1]
        entropy = -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
        if re.search(rb"[0-9]", value) and re.search(rb"[A-Za-z]", value) and entropy >= 3.5 - 1e-12:
            found.append(match.span(1))
    return found


def reference(text: bytes) -> set[tuple[str, int, int]]:
    found = {kind: [match.span() for match in re.finditer(pattern, text)] for kind, pattern in PATTERNS.items()}
    found |= {"email": emails(text), "phone": phones(text), "ipv6": ipv6(text), "payment_card": cards(text)}
    found |= {"iban": ibans(text), "private_key": private_keys(text), "secret": secrets(text)}
    kept = set()
    for kind, spans in found.items():
        free = 0
        for start, end in sorted(spans):
            if start >= free:
                kept.add((kind, start, end))
                free = end
    return kept


def found_in(text: str | bytes) -> set[tuple[str, int, int]]:
    return {(row["kind"], row["start"], row["end"]) for row in pii_candidates(TextColumn.of([text])).to_pylist()}


EXAMPLES = {
    "email": ["ada.lovelace+x@mail.example.org", "_a@b-c.io"],
    "phone": ["+44 20 7946 0958", "+1 (415) 555-2671", "(415) 555-2671", "415-555-2671", "1.415.555.2671"],
    "ipv4": ["192.168.0.1", "8.8.8.8"],
    "ipv6": ["2001:db8::8a2e:370:7334", "fe80::1", "1:2:3:4:5:6:7:8"],
    "payment_card": ["4111 1111 1111 1111", "5500005555555559", "3782-822463-10005"],
    "iban": [
        "DE89 3704 0044 0532 0130 00",
        "GB29NWBK60161331926819",
        "NO9386011117947",
        "FR14 2004 1010 0505 0001 3M02 606",
    ],
    "aws_key": ["AKIAIOSFODNN7EXAMPLE"],
    "github_token": ["ghp_" + "a1B2" * 9, "github_pat_" + "11AAAAAAA0_" * 2],
    "slack_token": ["xoxb-123456789012-abcdef"],
    "private_key": [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----",
    ],
    "json_web_token": ["eyJhbGciOi.eyJzdWIiOiIx.SflKxwRJ-_s"],
    "secret": ["a8F3kd92LsQ0zX7vB1nM"],
}
PREFIX = {"secret": 'API_KEY = "'}
CASES = [(kind, text) for kind, texts in EXAMPLES.items() for text in texts]


@pytest.mark.parametrize(("kind", "text"), CASES, ids=[f"{kind}-{i}" for i, (kind, _) in enumerate(CASES)])
def test_each_form_is_found_in_place(kind: str, text: str) -> None:
    prefix = "é: " + PREFIX.get(kind, "")
    start = len(prefix.encode())
    assert (kind, start, start + len(text)) in found_in(f"{prefix}{text} and more")


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES) == set(PII_KINDS)


@pytest.mark.parametrize(
    "text",
    ["4111 1111 1111 1112", "DE88370400440532013000", "256.1.1.1", "1.2.3.4.5", "12:30:45", "std::cout", "a@b", "a@b.c", "@x.org",
     "v1.415.555.2671", "password = correcthorsebatterystaple", "AKIAshort", "key: 1234567890123456789012"],
    ids=repr,
)  # fmt: skip
def test_near_misses_are_not_found(text: str) -> None:
    assert found_in(text) == set()


PIECES = st.sampled_from(
    [text for _, text in CASES]
    + ["+", "1", "4", "415", "555", "2671", "-", ".", " ", "  ", "(", ")", "@", "a", "b.org", "x", ":", "::", "=", '"', "'",
       "key", "Token", "pwd", "_", "é", "\n", "A", "AKIA", "DE", "eyJ", "4111", "1111", "111", "255", "0", "fe80", "-----",
       "BEGIN ", "PRIVATE KEY", "-----BEGIN ", "-----END ", "RSA ", "a8F3kd92LsQ0zX7vB1nM", "%", "\t", "K", "\ud800"]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(PIECES, max_size=25).map("".join),
    st.text("+1234 .-()", max_size=60),
    st.text("a1:.F", max_size=60),
)


@settings(max_examples=500, deadline=None)
@given(TEXTS)
@example("password=" + "=" * 40)
@example("-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----BEGIN ")
def test_candidates_equal_regular_expressions_of_the_forms(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    assert found_in(data) == reference(data)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), TEXTS), max_size=6))
def test_documents_do_not_run_into_each_other(texts: list[str | None]) -> None:
    rows = pii_candidates(TextColumn.of(texts)).to_pylist()
    for document, text in enumerate(texts):
        mine = {(row["kind"], row["start"], row["end"]) for row in rows if row["document"] == document}
        assert mine == (set() if text is None else reference(text.encode("utf-8", "surrogatepass")))


def test_a_form_across_the_border_of_a_block_is_found() -> None:
    for pad in range(50, 80):
        assert ("email", pad + 1, pad + 16) in found_in("x" * pad + " ada@example.org")
        assert ("payment_card", pad + 1, pad + 17) in found_in("x" * pad + " 4111111111111111")


@pytest.mark.parametrize(
    "unit",
    ["a@", "1", "1.", "+1", "4111 ", "-----BEGIN PRIVATE KEY-----", "-----END ", "-", ":", "a:", "eyJ", "eyJ.", "key=", "=",
     "DE89", "gh_", "xoxb-", "(", "AKIA", "eyJaaaaaaaa.eyJaaaaaaaa", "_J", ".J-"],
    ids=repr,
)  # fmt: skip
def test_hostile_repetition_takes_linear_time(unit: str) -> None:
    pii_candidates(TextColumn.of(["x"]))
    text = unit * (1_000_000 // len(unit))
    begin = time.process_time()
    pii_candidates(TextColumn.of([text]))
    assert time.process_time() - begin < 1.0


def test_redaction_replaces_overlapping_spans_once_and_keeps_the_rest() -> None:
    texts = ["é ada@example.org, +1 415 555 2671!", None, "", "clean", "key=a8F3kd92LsQ0zX7vB1nM"]
    column = TextColumn.of(pa.array(["first", *texts]).slice(1))
    spans = pii_candidates(column)
    assert redact(column, spans).to_pylist() == ["é <email>, <phone>!", None, "", "clean", "key=<secret>"]
    both = pa.table({"kind": ["a", "b"], "document": [3, 3], "start": [0, 2], "end": [3, 5]})
    assert redact(column, both, replacement="[{kind}]").to_pylist()[3] == "[a]"


def test_redacted_text_holds_no_candidate_of_the_examples() -> None:
    column = TextColumn.of([f"see {text} here" for _, text in CASES])
    again = pii_candidates(TextColumn.of(redact(column, pii_candidates(column))))
    assert again.num_rows == 0


def test_a_span_outside_its_document_is_refused() -> None:
    spans = pa.table({"kind": ["email"], "document": [0], "start": [2], "end": [9]})
    with pytest.raises(ValueError, match="outside"):
        redact(TextColumn.of(["short"]), spans)
