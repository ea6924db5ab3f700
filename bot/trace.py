"""Traces the steps of a turn with OpenTelemetry: one span a step, with outcomes and counts, never a word of what was said.

Switched on by OpenTelemetry's own variables: set OTEL_EXPORTER_OTLP_ENDPOINT to the address of a collector (OTLP over gRPC).
"""

import os
import threading
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode, set_span_in_context

from bot.turn import Reply

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def is_wanted() -> bool:
    """Return whether the environment names a collector."""
    return any(os.environ.get(name) for name in ENDPOINTS)


def start_exporting() -> None:
    """Send spans to the collector from now on, unless the surrounding program has set up its own tracing."""
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    provider = TracerProvider(resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "backtalk")}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


class StepTracer(BaseCallbackHandler):
    """Makes a span of the whole line, and below it one of each step."""

    def __init__(self, tracer: trace.Tracer | None = None) -> None:
        """Use `tracer`, or the one of the process."""
        self._tracer = tracer or trace.get_tracer("backtalk")
        self._spans: dict[UUID, Span] = {}
        self._lock = threading.Lock()

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **given: Any) -> None:
        """Open a span; what went in is not kept."""
        with self._lock:
            parent = self._spans.get(parent_run_id) if parent_run_id else None
        name = str(given.get("name") or "step") if parent else "turn"
        span = self._tracer.start_span(name, context=set_span_in_context(parent) if parent else None)
        with self._lock:
            self._spans[run_id] = span

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        """Close the span with what is countable of the outcome."""
        with self._lock:
            span = self._spans.pop(run_id, None)
        if span is None:
            return
        for key, value in _facts(outputs).items():
            span.set_attribute(f"backtalk.{key}", value)
        span.end()

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Close the span as failed; of the error only its type is kept, since its text may quote the message."""
        with self._lock:
            span = self._spans.pop(run_id, None)
        if span is not None:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            span.end()


def _facts(outputs: Any) -> dict[str, str | int | float]:
    if isinstance(outputs, Reply):
        return {
            "outcome": outputs.outcome,
            "level": outputs.escalation.level,
            "citations": len(outputs.citations),
            "model": outputs.model,
        }
    verdict, retrieved = getattr(outputs, "verdict", None), getattr(outputs, "retrieved", None)
    facts: dict[str, str | int | float] = {}
    if verdict is not None:
        facts |= {"level": verdict.level, "language": verdict.language}
    if retrieved is not None:
        facts |= {"passages": len(retrieved.passages), "answerable": retrieved.answerable}
    return facts
