"""Messages that come as events of a span, in both forms of the conventions, are laid out as those of its attributes are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jurat.telemetry.derive import Settings
from jurat.telemetry.log_rows import log_rows
from jurat.telemetry.wal import Record
from tests.telemetry.test_ingest_signals import event, logs

SPAN = "00f067aa0ba902b7"


def said(*events: dict[str, Any]) -> tuple[str | None, str | None]:
    """Prompt and response of the one span."""
    record = Record(offset=0, end=1, received_us=1_790_000_000_000_000, tenant="acme", kind=7, payload=logs(*events))
    (row,) = log_rows(record, "json", Settings(user_secret=b"s" * 32)).texts.to_pylist()
    return row["prompt"], row["response"]


def test_what_the_assistant_said_before_is_part_of_the_prompt() -> None:
    events = [
        event("gen_ai.system.message", {}, span=SPAN, body={"content": "You are brief."}),
        event("gen_ai.user.message", {}, span=SPAN, body={"content": "Count to two."}),
        event("gen_ai.assistant.message", {}, span=SPAN, body={"content": "One, two."}),
        event("gen_ai.user.message", {}, span=SPAN, body="To three?"),
        event("gen_ai.choice", {}, span=SPAN, body={"message": {"role": "assistant", "content": "One, two, three."}}),
    ]
    assert said(*events) == ("user: Count to two.\n\nassistant: One, two.\n\nuser: To three?", "One, two, three.")


@pytest.mark.parametrize("whole", [True, False], ids=["text in messages", "plain text"])
def test_messages_of_one_event_leave_the_systems_out(whole: bool) -> None:
    messages = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Why?"}]
    given = json.dumps(messages) if whole else "Why?"
    one = event("gen_ai.client.inference.operation.details", {"gen_ai.input.messages": given}, span=SPAN)
    assert said(one) == ("Why?", None)
