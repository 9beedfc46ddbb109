"""Who talked with the model, and how did it go? Conversations of a lake, the latest first, and the turns of one.

A conversation is known by its id; turns without one stand with their trace, or alone. Everything here is fact without text:
prompts, responses and comments come out of `jurat.telemetry.reveal` alone.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jurat.errors import UnknownName, UsageError
from jurat.store.engine import Scalar
from jurat.telemetry.conversation_filter import ConversationFilter
from jurat.telemetry.tenant_view import TenantView

__all__ = [
    "CONVERSATION_KEY", "OF_ONE_CONVERSATION", "Conversation", "ConversationPage", "Opinion", "Turn", "TurnPage",
    "conversation_row", "conversation_turns", "count_conversations", "export_conversations", "list_conversations",
]  # fmt: skip

CONVERSATION_KEY = "COALESCE(conversation_id, trace_id, span_id)"
"""What turns of one conversation have in common."""

_MOST_PAGE, _MOST_TURNS, _MOST_NAMES = 1_000, 500, 8
_EVERYTHING = ConversationFilter(text="", turn_sql="", conversation_sql="", parameters={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """What is known of a conversation, without its text.

    Attributes
    ----------
    id
        Its id.
    turns
        Turns of it.
    first, last
        Times of the first and the last turn, UTC.
    models, releases, endpoints, tiers
        Names met in it, sorted, at most eight each.
    tokens
        Tokens in and out together, where they are known; ``None`` where no turn says.
    cost_usd
        By the list of prices; ``None`` where no turn has a price.
    unpriced
        Turns whose cost is not known.
    refusals, errors, blocks
        Turns that were refused, failed, or stopped by a filter.
    unlabelled
        Turns of which nobody can say whether they were refused: failed ones, and those without an answer to read.
    worst_risk_tier
        Highest tier of risk; ``None`` where no turn has one.
    thumbs_up, thumbs_down, feedback
        What people said of its answers: the latest thumb on each turn, and pieces of feedback of all kinds.
    """

    id: str
    turns: int
    first: dt.datetime
    last: dt.datetime
    models: tuple[str, ...]
    releases: tuple[str, ...]
    endpoints: tuple[str, ...]
    tiers: tuple[str, ...]
    tokens: int | None
    cost_usd: float | None
    unpriced: int
    refusals: int
    unlabelled: int
    errors: int
    blocks: int
    worst_risk_tier: int | None
    thumbs_up: int
    thumbs_down: int
    feedback: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationPage:
    """Some conversations, the latest first.

    Attributes
    ----------
    conversations
        Rows.
    next
        Where the next page goes on; ``None`` on the last.
    sql, parameters
        The statement that was run, and its values.
    """

    conversations: tuple[Conversation, ...]
    next: str | None
    sql: str
    parameters: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """A piece of feedback without its words: kind, value, time, and how many characters were written."""

    kind: str
    value: float | None
    time: dt.datetime | None
    characters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Facts of a turn.

    Attributes
    ----------
    number
        Its place in the conversation, from 1, by time.
    span_id, time
        Its id, and when it began.
    facts
        Columns of the table ``spans`` by name.
    prompt_characters, response_characters
        Length of the stored text; ``None`` where none is kept.
    feedback
        What was said of it.
    """

    number: int
    span_id: str | None
    time: dt.datetime
    facts: Mapping[str, Any]
    prompt_characters: int | None
    response_characters: int | None
    feedback: tuple[Opinion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnPage:
    """Turns of one conversation, the first ones first.

    Attributes
    ----------
    conversation
        The whole it belongs to.
    turns
        Rows.
    next
        Number of turns to pass over for the next page; ``None`` on the last.
    sql, parameters
        The statement that was run, and its values.
    """

    conversation: Conversation
    turns: tuple[Turn, ...]
    next: int | None
    sql: str
    parameters: Mapping[str, Scalar]


# One SELECT serves list, count and export -----------------------------------------------------------------------------


def _statement(where: ConversationFilter, *, window: str, after: bool) -> str:
    """CTEs up to ``listed``: one row a conversation that matches, with its facts.

    Where only turns decide, the page's conversations are picked first, from two columns, and facts are read for them
    alone; a condition on whole conversations needs the facts of all of them.
    """
    turn = f" AND ({where.turn_sql})" if where.turn_sql else ""
    key = " HAVING MAX(ts_us) < $last OR (MAX(ts_us) = $last AND conversation < $id)" if after else ""
    limit = " ORDER BY last_us DESC, conversation DESC LIMIT $most" if not where.conversation_sql else ""
    # A filter or a window picks conversations; what is then told of them is always the whole.
    some = f"SELECT DISTINCT conversation FROM turns WHERE TRUE{window}{turn}"  # noqa: S608 - see below
    matched = f" SEMI JOIN ({some}) USING (conversation)" if turn or window else ""
    condition = f" WHERE {where.conversation_sql}" if where.conversation_sql else ""
    late = ""
    if where.conversation_sql:
        late = " AND (last_us < $last OR (last_us = $last AND conversation < $id))" if after else ""
        key = ""
    return f"""WITH turns AS (
  SELECT {CONVERSATION_KEY} AS conversation, * FROM spans WHERE ts_us IS NOT NULL
),
picked AS (
  SELECT conversation, MAX(ts_us) AS last_us FROM turns{matched}
  GROUP BY conversation{key}{limit}
),
chosen AS (
  SELECT * FROM turns SEMI JOIN picked USING (conversation)
),
thumbs AS (
  SELECT span_id, value FROM feedback WHERE kind = 'thumb' AND value IS NOT NULL
  QUALIFY ROW_NUMBER() OVER (PARTITION BY span_id ORDER BY ts DESC NULLS LAST, feedback_id DESC NULLS LAST) = 1
),
thumbed AS (
  SELECT conversation, COUNT(*) FILTER (WHERE value > 0) AS up, COUNT(*) FILTER (WHERE value <= 0) AS down
  FROM chosen JOIN thumbs USING (span_id) GROUP BY conversation
),
said AS (
  SELECT conversation, COUNT(*) AS pieces
  FROM (SELECT DISTINCT conversation, span_id FROM chosen) JOIN feedback USING (span_id) GROUP BY conversation
),
facts AS (
  SELECT
    conversation,
    COUNT(*) AS turns,
    MIN(ts_us) AS first_us,
    MAX(ts_us) AS last_us,
    {_names("model")},
    {_names("release")},
    {_names("endpoint")},
    {_names("tier")},
    SUM(CAST(COALESCE(tokens_in, 0) + COALESCE(tokens_out, 0) AS HUGEINT))
      FILTER (WHERE tokens_in IS NOT NULL OR tokens_out IS NOT NULL) AS total_tokens,
    SUM(cost_usd) AS total_cost_usd,
    COUNT(*) FILTER (WHERE cost_usd IS NULL) AS unpriced,
    COUNT(*) FILTER (WHERE refused) AS refusals,
    COUNT(*) FILTER (WHERE refused IS NULL) AS unlabelled,
    COUNT(*) FILTER (WHERE status = 'error') AS errors,
    COUNT(*) FILTER (WHERE blocked) AS blocks,
    MAX(risk_tier) AS worst_risk_tier
  FROM chosen GROUP BY conversation
),
listed AS (
  SELECT
    facts.*,
    (last_us - first_us) / 1e6 AS duration_s,
    make_timestamptz(first_us) AS first_time,
    make_timestamptz(last_us) AS last_time,
    COALESCE(up, 0) AS thumbs_up,
    COALESCE(down, 0) AS thumbs_down,
    COALESCE(pieces, 0) AS feedback
  FROM facts LEFT JOIN thumbed USING (conversation) LEFT JOIN said USING (conversation)
),
met AS (
  SELECT * FROM listed{condition or " WHERE TRUE"}{late}
)
"""  # noqa: S608 - the filter's condition was written anew from known names; values are bound


def _names(column: str) -> str:
    distinct = f'list_sort(list(DISTINCT "{column}") FILTER (WHERE "{column}" IS NOT NULL))'
    return f"{distinct}[1:{_MOST_NAMES}] AS {column}s"


def _window(since_us: int | None, until_us: int | None) -> tuple[str, dict[str, Scalar]]:
    sql, values = "", dict[str, Scalar]()
    if since_us is not None:
        sql, values["since"] = " AND ts_us >= $since", since_us
    if until_us is not None:
        sql, values["until"] = f"{sql} AND ts_us < $until", until_us
    return sql, values


def list_conversations(
    view: TenantView,
    *,
    where: ConversationFilter | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
    after: str | None = None,
    limit: int = 50,
) -> ConversationPage:
    """List conversations, the one with the latest turn first.

    Parameters
    ----------
    view
        A lake as a tenant sees it.
    where
        Which ones; all by default.
    since_us, until_us
        Only those with a turn from, and before, these microseconds since 1970 (one that meets the filter, where it speaks
        of turns). Facts are those of the whole conversation.
    after
        Where to go on: ``next`` of the page before.
    limit
        Rows of a page, 1 to 1,000.

    Returns
    -------
    ConversationPage

    Raises
    ------
    UsageError
        For a limit out of range, or a place to go on that is none.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from jurat.store.engine import DuckDB
    >>> from jurat.store.schema import TABLES, conform
    >>> rows = pa.table({"span_id": ["a", "b"], "conversation_id": ["c", "c"], "ts_us": [1_000_000, 5_000_000]})
    >>> tables = {"spans": conform(rows, TABLES["spans"], table="spans"), "feedback": TABLES["feedback"].empty_table()}
    >>> page = list_conversations(TenantView(DuckDB.from_tables(tables), tenant="default"))
    >>> [(c.id, c.turns, c.last.isoformat()) for c in page.conversations], page.next
    ([('c', 2, '1970-01-01T00:00:05+00:00')], None)
    """
    if not 1 <= limit <= _MOST_PAGE:
        raise UsageError("a page has 1 to 1,000 conversations", seen=str(limit))
    chosen = where or _EVERYTHING
    window, values = _window(since_us, until_us)
    parameters: dict[str, Scalar] = {**chosen.parameters, **values, "most": limit + 1}
    if after is not None:
        parameters["last"], parameters["id"] = _place(after)
    sql = _statement(chosen, window=window, after=after is not None)
    sql += "SELECT * FROM met ORDER BY last_us DESC, conversation DESC LIMIT $most"
    rows = view.query(sql, parameters=parameters).to_pylist()
    found = tuple(_conversation(row) for row in rows[:limit])
    return ConversationPage(
        conversations=found,
        next=_mark(rows[limit - 1]) if len(rows) > limit else None,
        sql=view.statement(sql)[0],
        parameters=parameters,
    )


def count_conversations(
    view: TenantView,
    *,
    where: ConversationFilter | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
) -> int:
    """Count the conversations that `list_conversations` would list on all pages."""
    chosen = where or _EVERYTHING
    window, values = _window(since_us, until_us)
    parameters: dict[str, Scalar] = {**chosen.parameters, **values}
    if chosen.conversation_sql:
        sql = f"{_statement(chosen, window=window, after=False)}SELECT COUNT(*) AS n FROM met"  # noqa: S608 - as above
    else:
        turn = f" AND ({chosen.turn_sql})" if chosen.turn_sql else ""
        sql = f"SELECT COUNT(DISTINCT {CONVERSATION_KEY}) AS n FROM spans WHERE ts_us IS NOT NULL{window}{turn}"  # noqa: S608 - as above
    return int(view.query(sql, parameters=parameters).column("n")[0].as_py())


def export_conversations(
    view: TenantView,
    *,
    where: ConversationFilter | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
    most: int = 100_000,
) -> Iterator[dict[str, Any]]:
    """Give the rows of a filtered list as plain JSON types, page by page; no text of any turn is among them.

    Parameters
    ----------
    view, where, since_us, until_us
        As for `list_conversations`.
    most
        Rows at most.
    """
    after: str | None = None
    given = 0
    while given < most:
        page = list_conversations(
            view, where=where, since_us=since_us, until_us=until_us, after=after, limit=min(_MOST_PAGE, most - given)
        )
        for one in page.conversations:
            given += 1
            yield conversation_row(one)
        if page.next is None:
            return
        after = page.next


def conversation_row(one: Conversation) -> dict[str, Any]:
    """Facts of a conversation as plain JSON types; names are joined by commas, times are ISO 8601 in UTC."""
    return {
        "conversation": one.id,
        "first": one.first.isoformat(),
        "last": one.last.isoformat(),
        "turns": one.turns,
        "models": ", ".join(one.models),
        "releases": ", ".join(one.releases),
        "endpoints": ", ".join(one.endpoints),
        "tiers": ", ".join(one.tiers),
        "tokens": one.tokens,
        "cost_usd": one.cost_usd,
        "unpriced": one.unpriced,
        "refusals": one.refusals,
        "unlabelled": one.unlabelled,
        "errors": one.errors,
        "blocks": one.blocks,
        "worst_risk_tier": one.worst_risk_tier,
        "thumbs_up": one.thumbs_up,
        "thumbs_down": one.thumbs_down,
        "feedback": one.feedback,
    }


def _conversation(row: Mapping[str, Any]) -> Conversation:
    return Conversation(
        id=row["conversation"],
        turns=row["turns"],
        first=_moment(row["first_us"]),
        last=_moment(row["last_us"]),
        models=tuple(row["models"] or ()),
        releases=tuple(row["releases"] or ()),
        endpoints=tuple(row["endpoints"] or ()),
        tiers=tuple(row["tiers"] or ()),
        tokens=None if row["total_tokens"] is None else int(row["total_tokens"]),
        cost_usd=row["total_cost_usd"],
        unpriced=row["unpriced"],
        refusals=row["refusals"],
        unlabelled=row["unlabelled"],
        errors=row["errors"],
        blocks=row["blocks"],
        worst_risk_tier=row["worst_risk_tier"],
        thumbs_up=row["thumbs_up"],
        thumbs_down=row["thumbs_down"],
        feedback=row["feedback"],
    )


def _moment(us: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=us)


def _mark(row: Mapping[str, Any]) -> str:
    """Where a page ends, as a word for an address."""
    return base64.urlsafe_b64encode(f"{row['last_us']}:{row['conversation']}".encode()).decode().rstrip("=")


def _place(mark: str) -> tuple[int, str]:
    try:
        last, _, identifier = base64.urlsafe_b64decode(mark + "=" * (-len(mark) % 4)).decode().partition(":")
        place = int(last)
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise UsageError(
            "not a place in the list", seen=repr(mark)[:60], next_step="begin with its first page"
        ) from error
    if not -(2**63) <= place < 2**63:
        raise UsageError("not a place in the list", seen=repr(mark)[:60], next_step="begin with its first page")
    return place, identifier


# One conversation -----------------------------------------------------------------------------------------------------

OF_ONE_CONVERSATION = "(conversation_id = $one OR (conversation_id IS NULL AND COALESCE(trace_id, span_id) = $one))"


def conversation_turns(view: TenantView, identifier: str, *, passed: int = 0, limit: int = 100) -> TurnPage:
    """Give a conversation with the facts of its turns, in order of time.

    Parameters
    ----------
    view
        A lake as a tenant sees it.
    identifier
        Its id.
    passed
        Turns to pass over.
    limit
        Turns of a page, 1 to 500.

    Raises
    ------
    UnknownName
        Where the tenant has no such conversation.
    UsageError
        For a page out of range.
    """
    if not 1 <= limit <= _MOST_TURNS or passed < 0:
        raise UsageError("a page has 1 to 500 turns", seen=f"{limit} after {passed}")
    if not identifier or len(identifier) > _LONGEST_ID:
        raise UsageError("not the id of a conversation", seen=f"{len(identifier)} characters")
    one = ConversationFilter(text="", turn_sql=OF_ONE_CONVERSATION, conversation_sql="", parameters={"one": identifier})
    page = list_conversations(view, where=one, limit=1)
    if not page.conversations:
        raise UnknownName("conversation", identifier, ())
    parameters: dict[str, Scalar] = {"one": identifier, "most": limit, "passed": passed}
    rows = view.query(_TURNS, parameters=parameters).to_pylist()
    opinions = _opinions(view, identifier) if page.conversations[0].feedback else {}
    turns = tuple(_turn(row, opinions) for row in rows)
    more = passed + len(turns) < page.conversations[0].turns
    return TurnPage(
        conversation=page.conversations[0],
        turns=turns,
        next=passed + len(turns) if more and turns else None,
        sql=view.statement(_TURNS)[0],
        parameters=parameters,
    )


_LONGEST_ID = 4_096
_OWN_TEXT = "span_id IN (SELECT span_id FROM mine)"
_TURNS = f"""WITH mine AS (
  SELECT * FROM spans WHERE {OF_ONE_CONVERSATION} AND ts_us IS NOT NULL
),
lengths AS (
  SELECT span_id, MAX(LENGTH(prompt)) AS prompt_characters, MAX(LENGTH(response)) AS response_characters
  FROM span_text WHERE {_OWN_TEXT} AND (org_id IS NULL OR org_id IN (SELECT org_id FROM mine)) GROUP BY span_id
)
SELECT
  mine.*,
  prompt_characters,
  response_characters,
  ROW_NUMBER() OVER (ORDER BY ts_us, turn NULLS LAST, mine.span_id) AS number
FROM mine LEFT JOIN lengths ON lengths.span_id = mine.span_id
ORDER BY number LIMIT $most OFFSET $passed"""  # noqa: S608 - no value is pasted
_OPINIONS = f"""WITH mine AS (
  SELECT span_id FROM spans WHERE {OF_ONE_CONVERSATION}
)
SELECT span_id, kind, value, ts, COALESCE(LENGTH(text), 0) AS characters FROM feedback WHERE {_OWN_TEXT}
ORDER BY ts NULLS FIRST, feedback_id"""  # noqa: S608 - no value is pasted


def _opinions(view: TenantView, identifier: str) -> dict[str, tuple[Opinion, ...]]:
    """What was said of each turn, the earliest first."""
    said: dict[str, tuple[Opinion, ...]] = {}
    for row in view.query(_OPINIONS, parameters={"one": identifier}).to_pylist():
        one = Opinion(kind=row["kind"], value=row["value"], time=row["ts"], characters=row["characters"])
        said[row["span_id"]] = (*said.get(row["span_id"], ()), one)
    return said


def _turn(row: Mapping[str, Any], opinions: Mapping[str, tuple[Opinion, ...]]) -> Turn:
    own = ("number", "prompt_characters", "response_characters")
    return Turn(
        number=row["number"],
        span_id=row["span_id"],
        time=_moment(row["ts_us"]),
        facts={name: value for name, value in row.items() if name not in own},
        prompt_characters=row["prompt_characters"],
        response_characters=row["response_characters"],
        feedback=opinions.get(row["span_id"], ()),
    )
