"""What the page *Now* is asked for, and what it then shows: computed once for a version, a moment and a slice."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from jurat.errors import UsageError
from jurat.stats.result import Interval
from jurat.telemetry.panels import Cell, KnownSlices, Slice, errors_by_type, known_slices, refusal_cells
from jurat.telemetry.recent import Recent, Span, View
from jurat.telemetry.standout import Standout, find_standout
from jurat.telemetry.tiles import CHART_MINUTES, Board
from jurat.web.panels import Panel, lake_receipt
from jurat.web.sessions import Person
from jurat.web.site import utc

if TYPE_CHECKING:
    from jurat.web.site import Site

__all__ = ["WINDOWS", "Asked", "Now", "NowData"]

WINDOWS = {5: "5 minutes", 15: "15 minutes", 60: "1 hour", 180: "3 hours"}
"""Windows there are to choose from, in minutes."""

_DEFAULT_WINDOW = 15
_LAST_MINUTE = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp()) // 60
_MOST_HELD = 24
_OF_MODEL = "Minutes do not tell models apart: those shown are of this model's turns, rolled up anew."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the address asks for."""

    slice: Slice
    model: str
    minutes: int
    until: int | None

    @classmethod
    def of(cls, query: Mapping[str, str], person: Person) -> Asked:
        """Read the query; unknown values of a slice are no error, they have no turns."""
        try:
            minutes = int(query.get("window", _DEFAULT_WINDOW))
            at = query.get("at")
            until = None if not at else int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) // 60
        except (ValueError, OverflowError) as error:
            raise UsageError(
                "the address cannot be read", seen=str(error)[:80], next_step="go to the first page"
            ) from error
        if until is not None and not 0 <= until <= _LAST_MINUTE:
            raise UsageError("there is nothing at this time", seen=str(at)[:40], next_step="go to the first page")
        if minutes not in WINDOWS:
            raise UsageError("there is no such window", seen=str(minutes), next_step=f"one of {list(WINDOWS)}")
        chosen = {name: query.get(name, "*")[:200] for name in ("endpoint", "tier", "release")}
        return cls(
            slice=Slice(**chosen, org=person.only_org or "*"),
            model=query.get("model", "*")[:200],
            minutes=minutes,
            until=until,
        )

    def query(self, until: int | None = None) -> dict[str, str]:
        """The same as a query, held to a moment where one is given."""
        asked = {
            "endpoint": self.slice.endpoint,
            "tier": self.slice.tier,
            "release": self.slice.release,
            "model": self.model,
        }
        shown = {name: value for name, value in asked.items() if value != "*"}
        if self.minutes != _DEFAULT_WINDOW:
            shown["window"] = str(self.minutes)
        moment = until if until is not None else self.until
        return shown if moment is None else {**shown, "at": utc(moment * 60, "minutes").removesuffix("Z")}


class Now:
    """What the page shows of one moment; each part is computed when it is first asked for.

    Attributes
    ----------
    asked
        What the address asks for.
    view
        The minutes of a version.
    board
        The tiles.
    """

    def __init__(self, asked: Asked, view: View, minute: int, lag: Callable[[], int]) -> None:
        self.asked, self.view, self._lag = asked, view, lag
        self.board = Board(view, asked.slice, asked.minutes, clock_minute=minute, moment=asked.until is not None)

    @cached_property
    def cells(self) -> tuple[tuple[Cell, ...], dict[str, str]]:
        """Refusals by endpoint and tier, and what was bound to their SQL."""
        return refusal_cells(self.view, self.asked.slice, self.board.window, self.board.usual)

    @cached_property
    def errors(self) -> tuple[list[tuple[str, Interval, Interval]], dict[str, str]]:
        """Errors by type, and what was bound to their SQL."""
        return errors_by_type(self.view, self.asked.slice, self.board.window, self.board.usual)

    @cached_property
    def standout(self) -> Standout | None:
        """The cell that rose beyond doubt."""
        return find_standout(self.view, self.asked.slice, self.cells[0], self.board.usual)

    @cached_property
    def known(self) -> KnownSlices:
        """Values to choose from."""
        return known_slices(self.view, self.asked.slice.org)

    @property
    def provisional(self) -> int:
        """Bytes that were acknowledged and are not yet committed, at this moment."""
        return self._lag() if self.asked.until is None else 0

    @property
    def chart(self) -> Span:
        """Minutes of the charts."""
        return self.board.window[1] - CHART_MINUTES, self.board.window[1]


class NowData:
    """The page's memory: what was computed for one version, moment and slice is computed once."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.recent = Recent(site.open_lake())
        self._held: OrderedDict[tuple[Any, ...], Now] = OrderedDict()
        self._lock = Lock()

    def now(self, person: Person, query: Mapping[str, str]) -> Now:
        """Compute, or remember, what the page shows."""
        asked = Asked.of(query, person)
        view = self.recent.view(until=asked.until, model=asked.model)
        minute = int(time.time()) // 60
        key = (tuple(sorted(view.versions.items())), view.until, minute if asked.until is None else None, asked)
        with self._lock:
            held = self._held.get(key)
        if held is None:
            held = Now(asked, view, minute, self.site.ingest.lag_bytes)
            with self._lock:
                held = self._held.setdefault(key, held)
                while len(self._held) > _MOST_HELD:
                    self._held.popitem(last=False)
        return held

    def receipt(self, now: Now, sql: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        """Receipt of a figure, asked when it is wanted."""
        return lake_receipt(
            self.recent.lake, now.view.versions, sql, parameters, seconds=0.0, provisional=now.provisional > 0
        )

    def panel(self, now: Now, key: str, sql: str, parameters: Mapping[str, str], **rest: Any) -> Panel:
        """A panel of this page, with its address held to the moment."""
        if now.asked.model != "*":
            parameters = {**parameters, "model": now.asked.model}
            rest["note"] = f"{rest.get('note', '')} {_OF_MODEL}".strip()
        return Panel(
            key=key,
            sql=sql,
            parameters=parameters,
            receipt=partial(self.receipt, now, sql, parameters),
            page="/",
            query=now.asked.query(now.board.window[1]),
            **rest,
        )
