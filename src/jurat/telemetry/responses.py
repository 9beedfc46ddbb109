"""Which turn a piece of feedback speaks of: applications know the id of a model's response, the lake the id of a span.

Feedback may come before its turn is committed, days after it, or for a turn that never comes. The first two are joined here;
what matches nothing keeps the id it came with, and is counted.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterable

import duckdb
import pyarrow as pa

from jurat.store.lake import Lake
from jurat.telemetry.derive import HOUSE_TENANT

__all__ = ["Responses"]

_KEPT = 100_000
_LONGEST_HELD = 256
"""Characters of an id that is held in memory; a longer one is looked up."""
_SPAN_ID = re.compile(r"[0-9a-f]{16}")


class Responses:
    """Response ids and the turns they stand for.

    Parameters
    ----------
    lake
        Holds the table ``responses``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> known = Responses(Lake(Path(tempfile.mkdtemp())))
    >>> known.learn([("acme", "chatcmpl-1", "00f067aa0ba902b7")])
    >>> known.resolve("acme", ["chatcmpl-1", "chatcmpl-2", "b7ad6b7169203331"])
    {'chatcmpl-1': '00f067aa0ba902b7'}
    >>> known.resolve("default", ["b7ad6b7169203331"])
    {'b7ad6b7169203331': 'b7ad6b7169203331'}
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._recent: OrderedDict[tuple[str, str], str] = OrderedDict()

    def learn(self, turns: Iterable[tuple[str, str, str]]) -> None:
        """Remember tenant, response id and span id of turns that were just decoded."""
        for tenant, response, span in turns:
            if len(response) <= _LONGEST_HELD:
                self._recent[tenant, response] = span
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)

    def resolve(self, tenant: str, responses: Iterable[str]) -> dict[str, str]:
        """Span ids of those responses that are known; for the house, what has the form of a span id stands for itself.

        A span id travels with requests to other services, so a tenant may speak only of turns that it has sent.

        Parameters
        ----------
        tenant
            Whose they are: ids are unique only among a tenant's.
        responses
            As they came.
        """
        found: dict[str, str] = {}
        missing = []
        for response in dict.fromkeys(responses):
            span = self._recent.get((tenant, response))
            if span is not None:
                found[response] = span
            else:
                missing.append(response)
        older = self._look_up(tenant, missing) if missing else {}
        for response in missing:
            if response in older:
                found[response] = older[response]
            elif tenant == HOUSE_TENANT and _SPAN_ID.fullmatch(response):
                found[response] = response
        return found

    def recent(self, tenant: str, responses: Iterable[str]) -> dict[str, str]:
        """Span ids of those that were learnt since the start, without asking the lake."""
        return {response: span for response in responses if (span := self._recent.get((tenant, response))) is not None}

    def _look_up(self, tenant: str, missing: list[str]) -> dict[str, str]:
        if "responses" not in self._lake.tables():
            return {}
        files = self._lake.paths("responses")
        if not files:
            return {}
        with duckdb.connect() as connection:
            connection.register("wanted", pa.table({"response_id": pa.array(missing, pa.string())}))
            rows = connection.execute(
                "SELECT r.response_id, ANY_VALUE(r.span_id ORDER BY r.ts_us DESC) FROM read_parquet($files) AS r "
                "JOIN wanted USING (response_id) WHERE r.tenant = $tenant GROUP BY r.response_id",
                {"files": files, "tenant": tenant},
            ).fetchall()
        return dict(rows)
