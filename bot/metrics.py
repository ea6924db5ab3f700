"""Counts for Prometheus: turns, escalations, guardrail failures, latency. Labels are closed sets of ours; no word of a message is among them."""

import logging

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest

from bot.turn import Reply

log = logging.getLogger(__name__)
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40)


class Metrics:
    """The counters of one application, in a registry of their own so that two applications in a process do not clash."""

    def __init__(self) -> None:
        """Register the counters."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.turns = Counter("backtalk_turns", "Replies given, by outcome.", ["outcome"], registry=self.registry)
        self.escalations = Counter(
            "backtalk_escalations",
            "Replies with a red flag in force, by its code and the reply's level; counted each turn that it stays in force.",
            ["code", "level"],
            registry=self.registry,
        )
        self.failures = Counter("backtalk_guardrail_failures", "Turns that the guardrail could not judge.", registry=self.registry)
        self.seconds = Histogram(
            "backtalk_step_seconds", "Time spent in a step of a turn.", ["step"], buckets=BUCKETS_S, registry=self.registry
        )

    def count(self, reply: Reply) -> None:
        """Count one reply, and log what is countable of it."""
        codes = sorted({flag.code for flag in reply.escalation.flags})
        facts = {
            "outcome": reply.outcome,
            "level": reply.escalation.level,
            "codes": codes,
            "model": reply.model,
            "ms": reply.timings_ms.total,
        }
        log.info("turn", extra=facts)
        self.turns.labels(reply.outcome).inc()
        for code in codes:
            self.escalations.labels(code, reply.escalation.level).inc()
        if reply.outcome == "error" and reply.escalation.level != "none":
            self.failures.inc()
        for step, milliseconds in reply.timings_ms.model_dump().items():
            # A step that did not run has no time; counting it as 0 would flatter the average.
            if milliseconds > 0:
                self.seconds.labels(step).observe(milliseconds / 1000)


def metrics_router(metrics: Metrics) -> APIRouter:
    """Return the route `/metrics`."""
    router = APIRouter()

    @router.get("/metrics", summary="Counts and latencies for Prometheus")
    def show() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
