"""Counts what the server does, for Prometheus: numbers by labels of a fixed set, never a word of what was said.

A label's values are routes, statuses, and the dialogue's own tasks, stages and objections: nothing that a client sends
can add one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant.dialogue.types import Done, Event, Objection, Plan, Stage, StageTrace, Task, Text, Trace, Usage
from assistant.rollout.feedback import Given
from assistant.rollout.receipts import Role
from assistant.rollout.routing import BASE

Ending = Literal["done", "failed", "left"]
"""How a turn ends: with its reply, with an error, or because its client left."""

NO_ROUTE = "none"
MOST_RELEASES, SHORT = 16, 12
"""How many releases have labels, and how much of a digest is one."""
NO_TASK = "none"
LEFT = "left"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"sotto_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"sotto_{name}", text, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"sotto_{name}", text, labels, registry=registry, buckets=SECONDS)

        self.requests = counter(
            "requests", "Requests by route and status; left where the client did.", "route", "status"
        )
        self.in_flight = gauge("requests_in_flight", "Requests under way.")
        self.turns = counter("turns", "Turns of conversation, by task and how they ended.", "task", "ending")
        self.turn_seconds = seconds("turn_seconds", "From a turn's start to the end of its reply.")
        self.first_token = seconds("time_to_first_token_seconds", "From a turn's start to its reply's first token.")
        self.first_text = seconds("time_to_first_text_seconds", "From a turn's start to the first text that is shown.")
        self.stage_seconds = seconds("stage_seconds", "Time of each stage of a turn.", "stage")
        self.tokens = counter("tokens", "Tokens read (prompt) and written (completion) by the engine.", "stage", "kind")
        self.engine_calls = counter("engine_calls", "Calls to the engine.", "stage")
        self.retries = counter("retries", "Calls made again because an answer did not hold.", "stage")
        self.cache_hits = counter("cache_hits", "Calls spared by what was known from an earlier turn.", "stage")
        self.objections = counter("objections", "Sentences not shown, by what was wrong with them.", "kind")
        self.engine_up = gauge("engine_up", "Whether the engine answers.")
        self.items = gauge("catalogue_items", "Items in the catalogue.")
        self.spoken = counter(
            "release_turns", "Turns by release and arm, and how they ended.", "release", "arm", "ending"
        )
        self.release_tokens = counter(
            "release_tokens", "Tokens of turns by release and arm, read and written.", "release", "arm", "kind"
        )
        self.verdicts = counter(
            "verdicts", "Verdicts on recommendations, withdrawn ones too.", "release", "arm", "verdict"
        )
        self.residency = Gauge(
            "sotto_release_replicas", "Replicas that hold a release, ready to answer.", ["release"], registry=registry
        )
        self._releases: list[str] = []
        self._begin_at_nought()

    def _begin_at_nought(self) -> None:
        # A series that is missing until its first event hides that event from Prometheus' rate().
        for stage in get_args(Stage):
            for counted in (self.stage_seconds, self.engine_calls, self.retries, self.cache_hits):
                counted.labels(stage)
            for kind in ("prompt", "completion"):
                self.tokens.labels(stage, kind)
        for kind in get_args(Objection):
            self.objections.labels(kind)
        for task in get_args(Task):
            self.turns.labels(task, "done")

    def answered(self, route: str, status: str) -> None:
        """Counts a request."""
        self.requests.labels(route, status).inc()

    def ended(self, task: Task | None, ending: Ending) -> None:
        """Counts a turn; ``task`` is None where it ended before that was known."""
        self.turns.labels(task or NO_TASK, ending).inc()

    def took(self, trace: Trace) -> None:
        """Counts what a turn took."""
        self.turn_seconds.observe(trace.seconds)
        if trace.first_token is not None:
            self.first_token.observe(trace.first_token)
        if trace.first_text is not None:
            self.first_text.observe(trace.first_text)
        self.passed(trace.stages)

    def passed(self, stages: Iterable[StageTrace]) -> None:
        """Counts what ``stages`` took, of a turn or of a request that has no more than these."""
        for one in stages:
            self.stage_seconds.labels(one.stage).observe(one.seconds)
            self.tokens.labels(one.stage, "prompt").inc(one.prompt_tokens)
            self.tokens.labels(one.stage, "completion").inc(one.completion_tokens)
            self.engine_calls.labels(one.stage).inc(one.engine_calls)
            self.retries.labels(one.stage).inc(one.retries)
            self.cache_hits.labels(one.stage).inc(one.cache_hits)
            for kind, times in one.objections.items():
                self.objections.labels(kind).inc(times)

    def spoke(self, role: Role, release: str | None, usage: Usage | None) -> None:
        """Counts a turn of a release, which took ``usage``; None where it failed."""
        name = self._named(release)
        self.spoken.labels(name, role, "failed" if usage is None else "done").inc()
        if usage is not None:
            self.release_tokens.labels(name, role, "prompt").inc(usage.prompt_tokens)
            self.release_tokens.labels(name, role, "completion").inc(usage.completion_tokens)

    def judged(self, given: Given) -> None:
        """Counts a verdict that changed something."""
        if given.verdict != given.before:
            self.verdicts.labels(self._named(given.release), given.receipt.role, given.verdict).inc()

    def resident(self, releases: Iterable[str]) -> None:
        """Takes down which releases the replicas hold, each as often as it is held."""
        self.residency.clear()
        for release in releases:
            self.residency.labels(release[:SHORT]).inc()

    def _named(self, release: str | None) -> str:
        """The label of ``release``. Only the latest `MOST_RELEASES` keep one of their own."""
        name = release[:SHORT] if release else BASE
        if name not in self._releases:
            self._releases.append(name)
            if len(self._releases) > MOST_RELEASES:
                gone = {"release": self._releases.pop(0)}
                for counted in (self.spoken, self.release_tokens, self.verdicts):
                    counted.remove_by_labels(gone)
        return name

    async def watched(self, stream: AsyncGenerator[Event | None]) -> AsyncGenerator[Event | None]:
        """``stream`` as it is, with its turn counted. Closing this closes ``stream``."""
        task: Task | None = None
        ending: Ending = "left"
        try:
            async with aclosing(stream):
                async for event in stream:
                    match event:
                        case Plan():
                            task = event.task
                        case Done():
                            self.took(event.trace)
                        case Text() | None:
                            pass
                    yield event
            ending = "done"
        except Exception:
            ending = "failed"
            raise
        finally:
            self.ended(task, ending)


class Meter:
    """The middleware that counts requests. Outermost, so that it sees what the others refuse."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = LEFT

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            with self._metrics.in_flight.track_inprogress():
                await self.app(scope, receive, noting)
        finally:
            # The route's own path, with its placeholders: what was asked for is the client's text.
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self._metrics.answered(route, status)
