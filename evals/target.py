"""Asks another system over HTTP, in place of the bot in this process: one behind our contract's `/api/chat`, or an OpenAI-compatible one.

What such a system does not give is not measured, never guessed to be wrong: an OpenAI-compatible one gives no citations and no outcome.
Its level is read from its words by the patterns of `levels.yaml`, which is said wherever it is reported.
"""

import os
import re
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from bot.turn import Reply
from evals.case import Case, first_problem
from evals.guardrail import always, never
from evals.measure import Measure, Observed, Opened
from evals.reply_text import UNKNOWN, sentences_of
from ingest.cli import BadInput
from kb.red_flags import LEVELS, Level

Protocol = Literal["auto", "backtalk", "openai"]
TIMEOUT_S = 60.0
TRIES = 3
PAUSE_S = 1.0
"""Before the second try; twice as long before the third."""
KEY = "TARGET_API_KEY"
"""Environment variable with the key that the target wants, if any."""
KEPT = "; finished cases are kept: start again with the same --out"
BUSY = (429, 500, 502, 503, 504)
UNFIT = (400, 413, 422)
"""The target refuses this one message; that is its reply, and the run goes on."""


class Levels(BaseModel):
    """`levels.yaml`, read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conditional: re.Pattern[str]
    levels: dict[Level, re.Pattern[str]]


@lru_cache(maxsize=1)
def read_levels(path: Path = Path(__file__).parent / "levels.yaml") -> Levels:
    """Read `levels.yaml`."""
    return Levels.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def level_in(text: str) -> Level:
    """Return the level that a text advises, by its unconditional sentences; none if it advises nobody to be seen."""
    patterns = read_levels()
    sentences = [sentence.lower().replace("\u2019", "'") for sentence in sentences_of(text)]
    told = " ".join(sentence for sentence in sentences if not patterns.conditional.search(sentence))
    return next((level for level in reversed(LEVELS) if level in patterns.levels and patterns.levels[level].search(told)), "none")


class Target:
    """A system behind a URL."""

    def __init__(self, url: str, *, protocol: Protocol = "auto", model: str = "") -> None:
        """Find out what stands behind `url`.

        Args:
            url: of the server, or the whole address of one of the two routes.
            protocol: "backtalk" for `/api/chat`, "openai" for `/v1/chat/completions`, "auto" to find out.
            model: the name that an OpenAI-compatible server wants; its first one if empty.

        Raises:
            BadInput: nothing answers there, or neither protocol is spoken.
        """
        parsed = httpx.URL(url) if re.match(r"https?://[^/\s]+", url) else None
        if parsed is None:
            raise BadInput(f"--target: {url!r} is not an address such as http://localhost:7860")
        self.base = re.sub(r"/(api/chat|v1(/chat/completions)?)?/*$", "", url)
        key = os.environ.get(KEY)
        self._client = httpx.Client(timeout=TIMEOUT_S, headers={"authorization": f"Bearer {key}"} if key else {})
        self.protocol: Literal["backtalk", "openai"] = self._detect(url) if protocol == "auto" else protocol
        self.model = model
        if self.protocol == "openai" and not model:
            self.model = self._first_model()

    @property
    def name(self) -> str:
        """What the results call it."""
        return f"{self.base} ({self.protocol}{f', {self.model}' if self.model else ''})"

    def open(self, measure: Measure) -> Opened:
        """Return how this system is observed for a kind of suite.

        Raises:
            BadInput: the kind needs to see what no system shows over HTTP.
        """
        observers = {"guardrail": self.observe_level, "replies": self.observe_reply, "latency": self.observe_time}
        if measure.observer not in observers:
            raise BadInput("--target: a system behind a URL does not show what it retrieves; run 'retrieval' without --target")
        rivals = {"always escalate": always, "never escalate": never} if measure.observer == "guardrail" else {}
        return Opened(observers[measure.observer], rivals, self.name)

    def observe_level(self, case: Case) -> Observed:
        """Observe the level of a reply: as it is given, or as its words tell it."""
        reply = self._ask(case)
        if reply["escalation"] is None:
            return {"level": level_in(reply["text"]), "codes": [], "evidence": [], "failed": reply["outcome"] == "error"}
        flags = reply["escalation"]["flags"]
        failed = reply["outcome"] == "error"
        level = reply["escalation"]["level"]
        return {"level": level, "codes": [f["code"] for f in flags], "evidence": [f["evidence"] for f in flags], "failed": failed}

    def observe_reply(self, case: Case) -> Observed:
        """Observe a whole reply; how sure its retrieval was, and its passages, are not shown over HTTP."""
        return {"reply": self._ask(case), "passages": None, "confidence": None, "retrieved": None}

    def observe_time(self, case: Case) -> Observed:
        """Observe how long a reply takes, the way over the network included."""
        started = time.perf_counter()
        reply = self._ask(case)
        return {"outcome": reply["outcome"], "timings_ms": {"total": round(1000 * (time.perf_counter() - started), 2)}}

    def _ask(self, case: Case) -> dict[str, Any]:
        body: dict[str, Any] = {"messages": case.given["messages"], "stream": False}
        if self.protocol == "backtalk":
            return self._reply(self._post("/api/chat", body, case.id), case.id)
        answer = self._post("/v1/chat/completions", body | {"model": self.model, "temperature": 0}, case.id)
        if answer is None or isinstance(answer.get("backtalk"), dict):
            return self._reply(answer and answer["backtalk"], case.id)
        try:
            text = answer["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError) as error:
            raise BadInput(f"{self.base}: case {case.id}: not a chat completion{KEPT}") from error
        return {"text": str(text), "outcome": UNKNOWN, "escalation": None, "citations": None}

    def _reply(self, data: Any, case: str) -> dict[str, Any]:
        if data is None:
            return Reply(text="", outcome="error").model_dump(mode="json", exclude={"timings_ms"})
        try:
            # A system of others may say more than the contract does.
            known = {key: value for key, value in dict(data).items() if key in Reply.model_fields}
            return Reply.model_validate(known).model_dump(mode="json", exclude={"timings_ms"})
        except (ValidationError, TypeError, ValueError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else "not an object"
            raise BadInput(f"{self.base}: case {case}: not a Reply: {problem}{KEPT}") from error

    def _post(self, path: str, body: dict[str, Any], case: str) -> dict[str, Any] | None:
        """Return the JSON answer, or None where the target refuses this message; waits and tries again while it is busy."""
        problem = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE_S * 2 ** (attempt - 1))
            try:
                response = self._client.post(f"{self.base}{path}", json=body)
            except httpx.HTTPError as error:
                problem = _words(error)
                continue
            if response.status_code in UNFIT:
                return None
            if response.status_code in BUSY:
                problem = f"status {response.status_code}"
                continue
            if response.status_code != 200:
                raise BadInput(f"{self.base}{path}: status {response.status_code}{_hint(response.status_code)}{KEPT}")
            try:
                return dict(response.json())
            except (ValueError, TypeError) as error:
                raise BadInput(f"{self.base}{path}: case {case}: the answer is not a JSON object{KEPT}") from error
        raise BadInput(f"{self.base}{path}: case {case}: no answer in {TRIES} tries: {problem}{KEPT}")

    def _detect(self, url: str) -> Literal["backtalk", "openai"]:
        if "/v1" in url.removeprefix(self.base):
            return "openai"
        empty: dict[str, Any] = {"messages": []}
        # A server with the route refuses an empty conversation; one without it has no such page.
        if self._probe("POST", "/api/chat", empty) not in (404, 405, 501):
            return "backtalk"
        if self._probe("GET", "/v1/models") not in (404, 405, 501):
            return "openai"
        raise BadInput(f"--target: {self.base} has neither /api/chat nor /v1/models; name the protocol with --protocol")

    def _probe(self, method: str, path: str, body: dict[str, Any] | None = None) -> int:
        try:
            return self._client.request(method, f"{self.base}{path}", json=body).status_code
        except httpx.HTTPError as error:
            raise BadInput(f"--target: {self.base} cannot be reached: {_words(error)}") from error

    def _first_model(self) -> str:
        try:
            return str(self._client.get(f"{self.base}/v1/models").json()["data"][0]["id"])
        except httpx.HTTPError as error:
            raise BadInput(f"--target: {self.base} cannot be reached: {_words(error)}") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise BadInput(f"--target: {self.base}/v1/models names no model; name one with --model") from error


def _words(error: httpx.HTTPError) -> str:
    return f"{type(error).__name__}: {str(error) or 'no details'}".splitlines()[0]


def _hint(status: int) -> str:
    return f"; set {KEY} to the key that it wants" if status in (401, 403) else ""
