"""Programs of the peers: each runs in a process of its own, by the interpreter that has them, and prints one line of JSON.

A program is given the path of a Parquet file with a column ``text`` and the number of its first rows to work on; reading and
loading come before the clock starts, which counts the CPU time of the process and all its threads.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["DAFT", "DATASKETCH", "DATATROVE", "RENSA", "run_peer"]

PEERS = os.environ.get("JURAT_BENCH_PEERS", "")


def run_peer(code: str, *arguments: str | Path | int) -> dict[str, Any] | None:
    """What a peer's program prints; ``None`` where there is no interpreter for it or it fails."""
    if not PEERS:
        return None
    done = subprocess.run(
        [PEERS, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DAFT_PROGRESS_BAR": "0", "DO_NOT_TRACK": "1"},
    )
    if done.returncode != 0:
        print(done.stderr[-1200:], file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


_START = """
import json, re, sys, time
import pyarrow.parquet as pq
table = pq.read_table(sys.argv[1], columns=["text"]).slice(0, int(sys.argv[2])).combine_chunks()
texts = table["text"].to_pylist()
size = sum(len(t.encode()) for t in texts)
def timed(work, rounds=1):
    best = 1e99
    for _ in range(rounds):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    print(json.dumps({"seconds": best, "bytes": size}))
"""

DAFT = (
    _START
    + """
import daft
from daft import col
from daft.functions import minhash, normalize
def sign(frame):
    clean = normalize(col("text"), remove_punct=True, lowercase=True, white_space=True)
    return frame.select(minhash(clean, num_hashes=128, ngram_size=5, seed=1)).collect()
sign(daft.from_arrow(table.slice(0, 50)))
frame = daft.from_arrow(table).collect()
timed(lambda: sign(frame), 3)
"""
)

_SHINGLES = """
def shingles(text):
    words = re.findall(r"\\w+", text.lower())
    return {" ".join(words[i:i + 5]) for i in range(max(1, len(words) - 4))}
"""

RENSA = (
    _START
    + _SHINGLES
    + """
from rensa import RMinHash
def one():
    for text in texts:
        signature = RMinHash(num_perm=128, seed=1)
        signature.update(list(shingles(text)))
        signature.digest()
timed(one, 2)
"""
)

DATASKETCH = (
    _START
    + _SHINGLES
    + """
from datasketch import MinHash
def one():
    for text in texts:
        signature = MinHash(num_perm=128, seed=1)
        signature.update_batch([s.encode() for s in shingles(text)])
        signature.digest()
timed(one, 1)
"""
)

DATATROVE = (
    _START
    + """
import warnings
warnings.filterwarnings("ignore")
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter,
)
from datatrove.pipeline.filters import fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter as gr
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_words
own = True
try:
    split_into_words("Warm up.", "eng")
except Exception:
    own = False
def whitespace(text, language=None):
    return text.split()
if not own:
    for module in (fineweb_quality_filter, gopher_quality_filter, gr):
        module.split_into_words = whitespace
filters = [GopherQualityFilter(), GopherRepetitionFilter(), FineWebQualityFilter()]
c4 = C4QualityFilter()
def run(text):
    for each in filters:
        each.filter(Document(text=text, id="0"))
    c4.filter(Document(text=text, id="0"))
run(texts[0])
begin = time.process_time()
for text in texts:
    run(text)
seconds = time.process_time() - begin
# Values of the counters that both define, by the peer's own functions and expressions, over words cut at whitespace.
stop_words, end = set(gopher_quality_filter.STOP_WORDS), tuple(TERMINAL_PUNCTUATION)
def values(text):
    words, lines = text.split(), text.splitlines()
    plain = [w for w in words if any(c not in PUNCTUATION_SET for c in w)]
    paragraphs = re.compile(r"\\n{2,}").split(text.strip())
    feeds = re.compile("\\n+").split(text)
    filled = [line for line in text.split("\\n") if line.strip() != ""]
    row = {
        "words": len(words), "plain_words": len(plain), "plain_word_characters": sum(map(len, plain)),
        "alphabetic_words": sum(any(c.isalpha() for c in w) for w in words),
        "stop_words": len(stop_words.intersection(words)), "hash_signs": text.count("#"),
        "ellipses": text.count("...") + text.count("\\u2026"),
        "bullet_lines": sum(s.lstrip().startswith("\\u2022") or s.lstrip().startswith("-") for s in lines),
        "ellipsis_lines": sum(s.rstrip().endswith("...") or s.rstrip().endswith("\\u2026") for s in lines),
        "lines": len(lines), "paragraphs": len(paragraphs), "feed_lines": len(feeds), "filled_lines": len(filled),
        "punctuated_lines": sum(line.endswith(end) for line in filled),
        "short_lines": sum(len(line) <= 30 for line in filled),
        "duplicate_filled_line_characters": gr.find_duplicates(filled)[1],
        "newlines": text.count("\\n"), "characters": len(text),
    }
    row["duplicate_paragraphs"], row["duplicate_paragraph_characters"] = gr.find_duplicates(paragraphs)
    row["duplicate_lines"], row["duplicate_line_characters"] = gr.find_duplicates(feeds)
    for n in (2, 3, 4):
        grams = gr.get_n_grams(words, n)
        row[f"top_{n}_gram_characters"] = gr.find_top_duplicate(grams) if grams else 0
    for n in range(5, 11):
        row[f"duplicate_{n}_gram_characters"] = gr.find_all_duplicate(words, n)
    return row
print(json.dumps({"seconds": seconds, "bytes": size, "own": own, "values": [values(t) for t in texts]}))
"""
)
