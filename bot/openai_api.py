"""The doors that OpenAI clients know: chat completions and the list of models. The whole Reply rides along as the field `backtalk`.

The conversation is the user's and the assistant's turns. System, developer and tool messages are read by nobody: no client can talk the
guardrail out of its rules. Sampling options are accepted and have no effect.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from bot.chain import Chain
from bot.turn import Message, Reply

MODEL = "backtalk"
WORDS_PER_CHUNK = 4
USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
"""Tokens are neither counted nor billed here."""


class Part(BaseModel):
    """A piece of a message's content; only text is read."""

    model_config = ConfigDict(extra="ignore")

    type: str
    text: str = ""


class ClientMessage(BaseModel):
    """A message as OpenAI clients send it."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    def text(self) -> str:
        """Return the words, whichever way they were sent."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(BaseModel):
    """What a stream should hold besides the text."""

    model_config = ConfigDict(extra="ignore")

    include_usage: bool = False


class CompletionRequest(BaseModel):
    """A chat completion request; `region` is ours, anything else that clients send is ignored."""

    model_config = ConfigDict(extra="ignore")

    messages: list[ClientMessage] = Field(min_length=1, max_length=1000)
    model: str = MODEL
    stream: bool = False
    stream_options: StreamOptions | None = None
    region: str | None = Field(default=None, max_length=8)


def openai_router(chain: Chain, *, check: Callable[[Sequence[Message]], None], count: Callable[[Reply], None]) -> APIRouter:
    """Return the routes under `/v1`.

    Args:
        chain: answers.
        check: refuses a conversation that cannot be answered, by raising the API's error.
        count: is told each reply.
    """
    router = APIRouter(prefix="/v1")
    started = int(time.time())
    model = {"id": MODEL, "object": "model", "created": started, "owned_by": "backtalk"}

    @router.get("/models", summary="The one model, for OpenAI clients")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @router.get("/models/{name}", summary="The model, for OpenAI clients")
    def one_model(name: str) -> dict[str, Any]:
        if name != MODEL:
            raise HTTPException(404, f"there is one model here: {MODEL}")
        return model

    @router.post("/chat/completions", summary="Answer the last message, for OpenAI clients")
    def complete(body: CompletionRequest) -> Response:
        messages = [Message(role=m.role, content=m.text()) for m in body.messages if m.role in ("user", "assistant")]
        check(messages)
        reply = chain.respond(messages, region=body.region)
        count(reply)
        if reply.outcome == "error" and reply.escalation.level == "none":
            raise HTTPException(503, reply.text)
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return StreamingResponse(_chunks(reply, usage=usage), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        choice = {"index": 0, "message": {"role": "assistant", "content": reply.text}, "finish_reason": "stop"}
        return JSONResponse({**_frame("chat.completion"), "choices": [choice], "usage": USAGE, "backtalk": reply.model_dump(mode="json")})

    return router


def _frame(kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": MODEL}


def _chunks(reply: Reply, *, usage: bool) -> Iterator[str]:
    """Yield the reply as completion chunks: the escalation on the first, before any text, the whole Reply on the last."""
    frame = _frame("chat.completion.chunk")

    def chunk(delta: dict[str, str], finish: str | None = None, **extra: Any) -> str:
        body = {**frame, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **extra}
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    yield chunk({"role": "assistant", "content": ""}, backtalk={"escalation": reply.escalation.model_dump(mode="json")})
    words = reply.text.split(" ")
    for start in range(0, len(words), WORDS_PER_CHUNK):
        piece = " ".join(words[start : start + WORDS_PER_CHUNK])
        yield chunk({"content": piece if start + WORDS_PER_CHUNK >= len(words) else piece + " "})
    yield chunk({}, "stop", backtalk=reply.model_dump(mode="json"))
    if usage:
        yield f"data: {json.dumps({**frame, 'choices': [], 'usage': USAGE})}\n\n"
    yield "data: [DONE]\n\n"
