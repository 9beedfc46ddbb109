"""A small application with a stock instrumentation of a client of models; all it knows of us is in OpenTelemetry's variables.

Run as a program: name of the instrumentation, address of the model's server. It prints what it got.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import set_tracer_provider


def instrument(name: str) -> None:
    if name == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor
    else:
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
    OpenAIInstrumentor().instrument()


def ask(client: openai.OpenAI, model: str, *said: str, **options: Any) -> Any:
    """One turn after what was said before, the user first."""
    roles = ("user", "assistant")
    messages: list[Any] = [{"role": "system", "content": "You are brief."}]
    messages += [{"role": roles[place % 2], "content": text} for place, text in enumerate(said)]
    return client.chat.completions.create(model=model, messages=messages, **options)


def main(name: str, address: str) -> None:
    spans, logs = TracerProvider(), LoggerProvider()
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    logs.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    set_tracer_provider(spans)
    set_logger_provider(logs)
    instrument(name)
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
    plain = ask(client, "stub", "Whom do I ask? I am ada.lovelace@example.org.", temperature=0.5)
    before = ("Count to two.", "One, two.")
    pieces = list(ask(client, "stub", *before, "To three?", stream=True, stream_options={"include_usage": True}))
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    try:
        ask(client, "broken", "Will it work?")
        error = ""
    except openai.APIStatusError as refused:
        error = type(refused).__name__
    spans.shutdown()
    logs.shutdown()
    print(json.dumps({"plain": plain.id, "stream": pieces[0].id, "said": said, "error": error}))


if __name__ == "__main__":
    main(*sys.argv[1:])
