"""Words that programs obey, written by strangers into everything they can write, are shown on every page and do nothing."""

from __future__ import annotations

import csv
import io
import itertools
import re
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser

import pytest

from jurat.web.addressed import to_value
from jurat.web.conversations_page import conversation_address
from tests.web.talks import FIRST_US, HOSTILE, Served, serving, turn

_OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Control characters, terminal escapes, bidi controls, what has no width: no answer holds one of them raw."""

_PAGES = ("/", "/alerts", "/conversations", "/releases", "/cost", "/ledger", "/metric-files", "/ingestion")
_LOADS = {"src", "srcset", "poster", "data", "background", "formaction", "ping", "xlink:href"}
_FORBIDDEN = {"iframe", "object", "embed", "base", "applet", "animate", "set", "foreignobject", "style"}


_MOST_ALIKE = 2
"""Addresses that differ only in their query are followed so often."""


class Reader(HTMLParser):
    """Reads a page as a browser would, and notes what would act."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.acts: list[str] = []
        self.addresses: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _FORBIDDEN or tag == "img":
            self.acts.append(f"<{tag}>")
        if tag == "script" and not (given.get("src") or "").startswith("/static/"):
            self.acts.append("script")
        for name, value in attrs:
            target = (value or "").strip().lower()
            if name.startswith("on") or name == "style":
                self.acts.append(f"{tag} {name}")
            if name in _LOADS and not target.startswith("/static/"):
                self.acts.append(f"{tag} {name}={target[:40]}")
            if name in ("href", "action") and not re.match(r"/(?!/)|#|data:,", target):
                self.acts.append(f"{tag} {name}={target[:40]}")
        if tag == "a" and given.get("href", "").startswith("/"):  # type: ignore[union-attr]
            self.addresses.add(str(given["href"]).partition("#")[0])

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(body: str) -> Reader:
    reader = Reader()
    reader.feed(body)
    reader.close()
    return reader


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    rows, feedback = [], []
    for number, words in enumerate(HOSTILE.values()):
        for part in range(6):
            i = 6 * number + part
            rows.append(
                turn(
                    i, conversation_id=f"{words} talk", endpoint=words, tier=words, model=words, release=words, error_type=words,
                    user_id=words, org_id=words, intent=words, status="ok" if part else "error", prompt=words, response=words * 2,
                )
            )  # fmt: skip
            feedback.append(
                {
                    "feedback_id": f"f{i}",
                    "span_id": f"s{i}",
                    "kind": "rating",
                    "value": 1.0,
                    "text": words,
                    "ts": FIRST_US,
                }
            )
    rows.append(turn(900, span_id=HOSTILE["script"], trace_id=f"{HOSTILE['formula']} trace", conversation_id=None))
    with serving(tmp_path_factory.mktemp("hostile"), rows, feedback=feedback) as opened:
        yield opened


def _marks(text: str) -> set[str]:
    return set(re.findall(r"mark-[a-z]+", text))


def test_every_page_file_and_link_is_inert_whatever_strangers_wrote(served: Served) -> None:
    some = list(HOSTILE.values())
    waiting = [*_PAGES, *(conversation_address(f"{words} talk") for words in some)]
    waiting += [
        "/releases?" + urllib.parse.urlencode({"candidate": to_value(a), "baseline": to_value(b)})
        for a, b in itertools.islice(itertools.pairwise(some), 0, None, 4)
    ]
    waiting += ["/conversations?" + urllib.parse.urlencode({"where": words}) for words in some]
    waiting += [
        f"/panel/{key}.{form}" for key in served.client.app.state.site.panels for form in ("json", "csv", "sql")
    ]  # type: ignore[attr-defined]
    seen: set[str] = set()
    shown: set[str] = set()
    kinds: dict[str, int] = {}
    shapes: dict[str, int] = {}
    while waiting:
        path = waiting.pop(0)
        shape = re.sub(r"/(conversations|metric-files)/.*|\?.*", r"/\1/…", path)
        most = len(HOSTILE) if path.startswith("/conversations/~") else _MOST_ALIKE
        if path in seen or path.startswith("/static") or shapes.get(shape, 0) >= most:
            continue
        seen.add(path)
        shapes[shape] = shapes.get(shape, 0) + 1
        answer = served.client.get(path, follow_redirects=False)
        kind = answer.headers.get("content-type", "").split(";")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
        assert answer.status_code < 500, f"{path}: {answer.text[:300]}"
        body = answer.content.decode("utf-8")
        assert not _OBEYED.search(body), f"{path} ({kind}) holds {_OBEYED.findall(body)[:3]} raw"
        assert "set-cookie" not in answer.headers or "a=b" not in answer.headers["set-cookie"]
        assert (
            answer.headers["x-content-type-options"] == "nosniff"
            and "default-src 'none'" in answer.headers["content-security-policy"]
        )
        if kind == "text/html":
            reader = _read(body)
            assert not reader.acts, f"{path}: {reader.acts[:4]}"
            shown |= _marks("".join(reader.text))
            waiting += sorted(reader.addresses - seen)
            assert "49mark-template" not in body
        elif kind == "text/csv":
            _check_csv(path, body)
        else:
            assert kind.endswith("json") or kind in ("text/plain", "application/x-ndjson"), f"{path} is {kind}"
    assert (
        shown >= {f"mark-{name}" for name in HOSTILE} and {"text/csv", "application/json", "text/plain"} <= kinds.keys()
    )
    assert len(seen) > 60


def _check_csv(path: str, body: str) -> None:
    for row in csv.reader(io.StringIO(body)):
        for cell in row:
            bare = cell.lstrip()
            number = re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", bare, re.IGNORECASE)
            assert not bare.startswith(("=", "+", "-", "@")) or number, f"{path}: {cell[:60]!r} runs in a spreadsheet"


def test_revealed_text_is_shown_as_written_and_inert(served: Served) -> None:
    for name, words in HOSTILE.items():
        address = conversation_address(f"{words} talk")
        fields = {"csrf": served.csrf(address), "reason": f"looking at what {name} does"}
        answer = served.client.post(f"{address}/reveal", data=fields)
        assert answer.status_code == 200, address
        reader = _read(answer.text)
        assert not reader.acts and not _OBEYED.search(answer.text)
        assert f"mark-{name}" in "".join(reader.text) and "Text is shown" in answer.text
        # Prompt, response and comment of each of six turns; the response says it twice.
        assert answer.text.count(f"mark-{name}") >= 6 * 4


def test_a_reason_full_of_tricks_is_inert_on_the_ledgers_page(served: Served) -> None:
    address = conversation_address(f"{HOSTILE['sql']} talk")
    fields = {"csrf": served.csrf(address)}
    for words in (" ".join(list(HOSTILE.values())[i::3]) for i in range(3)):
        fields["reason"] = f"because {words}"[:500]
        assert served.client.post(f"{address}/reveal", data=fields).status_code == 200
    for path in ("/ledger",):
        answer = served.client.get(path)
        assert answer.status_code == 200 and not _read(answer.text).acts and not _OBEYED.search(answer.text)


def test_names_in_addresses_are_inert_where_nothing_has_them(served: Served) -> None:
    for words in (HOSTILE[name] for name in ("script", "terminal", "bidi", "sql", "path", "template")):
        quoted = urllib.parse.quote(words, safe="")
        for path in (f"/conversations/{quoted}", f"/panel/{quoted}.json", f"/panel/conversation-turns.json?conversation={quoted}",
                     f"/conversations?window={quoted}", f"/conversations?after={quoted}", f"/releases?candidate={quoted}x",
                     f"/releases?bar={quoted}", f"/releases?by={quoted}", f"/releases?window={quoted}"):  # fmt: skip
            answer = served.client.get(path)
            assert answer.status_code in (400, 404), path
            assert not _OBEYED.search(answer.text), path
            if answer.headers["content-type"].startswith("text/html"):
                assert not _read(answer.text).acts, path
