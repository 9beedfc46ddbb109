"""Calls sent to a server as real OpenTelemetry requests, at any speed: as they happened, faster, or as fast as accepted.

A server that answers 429 is waited for as long as it says; what was acknowledged is never sent again. Calls go out once they
have ended, in the order of their ends, as an exporter sends them.
"""

from __future__ import annotations

import datetime as dt
import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jurat.errors import EngineError, UsageError
from jurat.simulate.otlp import export_request, feedback_pieces

__all__ = ["Replayed", "Sender", "replay", "window_start"]

_BATCH = 256
_FEEDBACK_BATCH = 500
_LONGEST_SLEEP_S = 0.25
_IDLE_S = 1.0
"""A connection that rested longer is made anew: the server may have let go of it, and a lost answer could not be told."""


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What was acknowledged.

    Attributes
    ----------
    requests, spans, feedback
        Requests, calls and thumbs that the server took.
    sent_bytes
        Size of the bodies.
    waits, waited_seconds
        How often the server asked to wait, and for how long.
    seconds
        Time the replay took.
    """

    requests: int = 0
    spans: int = 0
    feedback: int = 0
    sent_bytes: int = 0
    waits: int = 0
    waited_seconds: float = 0.0
    seconds: float = 0.0


def window_start(days: float, speed: float | None, *, now: dt.datetime) -> dt.datetime:
    """When a world must begin so that its last call is replayed as it happens, and none before it happened.

    Parameters
    ----------
    days
        Length of the world.
    speed
        Seconds of the world in one second; ``None`` as fast as accepted: then the world ends now.
    now
        The time.

    Raises
    ------
    UsageError
        Where the speed is below 1: calls would be sent later and later, and a live page would show none.

    Examples
    --------
    >>> noon = dt.datetime(2026, 11, 2, 12, tzinfo=dt.UTC)
    >>> window_start(1, None, now=noon).isoformat(), window_start(0.5, 1, now=noon).isoformat()
    ('2026-11-01T12:00:00+00:00', '2026-11-02T12:00:00+00:00')
    """
    length = dt.timedelta(days=days)
    if speed is None:
        return now - length
    if not 1 <= speed < float("inf"):
        raise UsageError("a replay is no slower than life", seen=repr(speed), next_step="give a speed of 1 or more")
    return now - length + length / speed


class Sender:
    """One connection to a server, kept open.

    Parameters
    ----------
    to
        Address of the server, for example ``http://127.0.0.1:4318``.
    key
        Token with the role ``ingest``.
    patience_seconds
        Longest time to wait, in all, while the server asks to wait; each answer of success starts it anew.
    done
        Counts what was sent; made where it is not given.

    Raises
    ------
    UsageError
        Where the address is none.
    """

    def __init__(self, to: str, key: str, *, patience_seconds: float = 120.0, done: Replayed | None = None) -> None:
        parts = urlsplit(to)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("the address is not that of a server", seen=to, next_step="try http://127.0.0.1:4318")
        kind = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
        self._connection = kind(parts.hostname, parts.port, timeout=30)
        self._path = parts.path.rstrip("/")
        self._to = to
        self._headers = {"Authorization": f"Bearer {key}"}
        self.patience_seconds = patience_seconds
        self.done = done or Replayed()
        self._used = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def traces(self, body: bytes, spans: int) -> None:
        """Send one export request, and wait until it is acknowledged.

        Raises
        ------
        EngineError
            Where the server cannot be reached, refuses, or asks to wait for too long.
        """
        self._post("/v1/traces", body, "application/x-protobuf")
        self.done.spans += spans

    def feedback(self, rows: pa.Table) -> None:
        """Send thumbs, and wait until they are acknowledged."""
        pieces = feedback_pieces(rows)
        self._post("/v1/feedback", json.dumps(pieces).encode(), "application/json")
        self.done.feedback += len(pieces)

    def _post(self, path: str, body: bytes, media: str) -> None:
        waited = 0.0
        while True:
            status, answer, again = self._once(path, body, media)
            if status == 200:
                self.done.requests += 1
                self.done.sent_bytes += len(body)
                return
            if status not in (429, 503):
                raise EngineError(
                    f"the server at {self._to} refused a request", seen=f"{status} {answer[:200]!r}",
                    next_step="check the address and the key" if status in (401, 404) else None,
                )  # fmt: skip
            if waited + again > self.patience_seconds:
                raise EngineError(
                    f"the server at {self._to} asks to wait for too long", seen=f"{status}, {waited:.0f} s so far",
                    next_step="send more slowly: lower the speed or the rate",
                )  # fmt: skip
            self.done.waits += 1
            self.done.waited_seconds += again
            waited += again
            time.sleep(again)

    def _once(self, path: str, body: bytes, media: str) -> tuple[int, str, float]:
        if time.monotonic() - self._used > _IDLE_S:
            self._connection.close()
        try:
            self._connection.request(
                "POST", self._path + path, body=body, headers={**self._headers, "Content-Type": media}
            )
            answer = self._connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
            self._used = time.monotonic()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            # Whether the request was taken is not known: to send it again could count its calls twice.
            raise EngineError(
                f"the server at {self._to} did not answer", seen=str(error) or type(error).__name__,
                next_step="start it with jurat serve",
            ) from error  # fmt: skip
        said = answer.getheader("Retry-After") or ""
        return answer.status, text, float(said) if said.isdigit() else 1.0


def replay(
    spans: pa.Table,
    feedback: pa.Table | None = None,
    *,
    sender: Sender,
    speed: float | None = None,
    batch: int = _BATCH,
    with_text: bool = True,
    told: Callable[[Replayed], None] | None = None,
) -> Replayed:
    """Send calls and thumbs in the order in which they happened.

    Parameters
    ----------
    spans
        Rows of the table ``spans``, as `jurat.simulate.calls` draws them; their times are sent as they stand.
    feedback
        Rows of the table ``feedback``, sent once the calls that ended before them are.
    sender
        The connection.
    speed
        Seconds of the world in one second, counted from now for the first call; ``None`` as fast as accepted.
    batch
        Most calls in one request.
    with_text
        Whether prompts and answers go along.
    told
        Called after each request with what was acknowledged so far.

    Returns
    -------
    Replayed
        Counts of the sender, which go on where another replay ended.
    """
    begun = time.monotonic()
    ended = pc.add(
        spans["ts_us"], pc.cast(pc.multiply(pc.fill_null(spans["latency_ms"], 0.0), 1000.0), pa.int64(), safe=False)
    )
    order = np.argsort(ended.to_numpy(), kind="stable")
    due, spans = ended.to_numpy()[order], spans.take(pa.array(order))
    pressed = np.empty(0, np.int64) if feedback is None else _moments(feedback)
    if feedback is not None:
        by_time = np.argsort(pressed, kind="stable")
        pressed, feedback = pressed[by_time], feedback.take(pa.array(by_time))
    first = int(spans["ts_us"].to_numpy().min()) if len(spans) else 0
    sent = said = 0
    while sent < len(due) or said < len(pressed):
        reached = _reached(begun, first, speed)
        until = min(int(np.searchsorted(due, reached, side="right")), sent + batch)
        if until > sent:
            part = spans.slice(sent, until - sent)
            sender.traces(export_request(part, with_text=with_text), len(part))
            sent = until
        told_to = due[sent - 1] if sent and sent < len(due) else reached
        heard = min(int(np.searchsorted(pressed, told_to, side="right")), said + _FEEDBACK_BATCH)
        # Thumbs are gathered, but for the last ones and where a replay keeps to the clock.
        if feedback is not None and heard > said and (heard - said >= batch or speed is not None or sent == len(due)):
            sender.feedback(feedback.slice(said, heard - said))
            said = heard
        elif until == sent and speed is not None:
            coming = [int(times[at]) for times, at in ((due, sent), (pressed, said)) if at < len(times)]
            ahead = (min(coming, default=0) - _reached(begun, first, speed)) / 1e6 / speed
            time.sleep(min(max(ahead, 0.0), _LONGEST_SLEEP_S))
        if told is not None:
            told(sender.done)
    sender.done.seconds += time.monotonic() - begun
    return sender.done


def _moments(feedback: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(feedback["ts"].cast(pa.int64()).to_numpy(), np.int64)


def _reached(begun: float, first: int, speed: float | None) -> int:
    """Moment of the world that has come, in microseconds since 1970."""
    if speed is None:
        return int(np.iinfo(np.int64).max)
    return first + int((time.monotonic() - begun) * speed * 1e6)
