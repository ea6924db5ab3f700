"""The HTTP doors: chat, article pages, health. Validates what comes in, answers errors in one JSON shape, and logs no message text."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from bot.errors import ApiError, error_response
from bot.feedback import feedback_router
from bot.guardrail.classifier import open_classifier
from bot.guardrail.verdict import read_thresholds
from bot.headers import READING, SecurityHeaders
from bot.limit import MAX_BODY, MAX_CONVERSATION, BodyLimit, Limiter
from bot.mcp_api import mcp_route, mcp_server
from bot.metrics import Metrics, metrics_router
from bot.open import open_chain
from bot.openai_api import openai_router
from bot.pages import TOPICS, render_api, render_article, render_kb_index
from bot.render import page_file
from bot.settings import Settings
from bot.topics import narrow
from bot.turn import MAX_CHARACTERS, MAX_MESSAGES, Message, Reply
from bot.widget.router import widget_router
from ingest.index import BadIndex
from kb.red_flag_rules import read_rules
from kb.red_flags import read_policy

log = logging.getLogger(__name__)


class ChatRequest(BaseModel):
    """A conversation so far; the last message is the one to answer."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Message] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool = False
    region: str | None = Field(default=None, max_length=8)
    topics: list[str] = Field(default_factory=list, max_length=20, description="Answer from these topics of /kb only; all if empty.")


def create_app(settings: Settings, *, root_path: str = "") -> FastAPI:
    """Build the web application; models and index are opened when it starts.

    Args:
        settings: as read.
        root_path: the path that a proxy puts before ours, such as /backtalk.
    """
    chain = open_chain(settings)
    retriever = chain.open_retriever

    @asynccontextmanager
    async def warm(_: FastAPI) -> AsyncIterator[None]:
        # One in another language too: it makes ready what only such messages need, and would hold up the first of them for seconds.
        for text in ("Is running bad for my back?", "me duele la espalda"):
            await run_in_threadpool(chain.respond, [Message(role="user", content=text)])
        async with assistants.session_manager.run():
            yield

    # FastAPI's own page of the interface loads its scripts from elsewhere; ours is below.
    app = FastAPI(title="Backtalk", version="0.1.0", lifespan=warm, docs_url=None, redoc_url=None, root_path=root_path)
    app.state.chain = chain
    origins = [origin.strip().rstrip("/") for origin in settings.allowed_origins.split(",") if origin.strip()]
    too_large = error_response(413, f"a request may have at most {MAX_BODY} bytes")
    app.add_middleware(BodyLimit, max_bytes=MAX_BODY, refusal=too_large)
    # Always installed, also with no origin: without it Gradio would mirror any origin.
    app.add_middleware(
        CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["content-type", "authorization"]
    )
    app.add_middleware(SecurityHeaders, origins=origins)
    _handle_errors(app)
    metrics = Metrics()
    app.include_router(metrics_router(metrics))
    app.state.metrics, app.state.limiter = metrics, Limiter(settings)
    allowed = [Depends(app.state.limiter)]
    app.include_router(openai_router(chain, check=_check, count=metrics.count), dependencies=allowed)
    app.include_router(feedback_router(settings.index / "feedback.sqlite"), dependencies=allowed)
    app.include_router(widget_router(region=settings.region))
    assistants = mcp_server(chain, count=metrics.count, check=_check)
    app.router.routes.append(mcp_route(assistants, allow=app.state.limiter))

    @app.post("/api/chat", response_model=Reply, dependencies=allowed, summary="Answer the last message of a conversation")
    def chat(body: ChatRequest) -> Response:
        _check(body.messages)
        unknown = set(body.topics) - set(TOPICS)
        if unknown:
            raise ApiError(422, f"there is no topic {min(unknown)!r}; there are {', '.join(TOPICS)}", "topics")
        answering = narrow(chain, body.topics) if body.topics else chain
        reply = answering.respond(body.messages, region=body.region)
        metrics.count(reply)
        if body.stream:
            return StreamingResponse(_events(reply), media_type="text/event-stream", headers={"Cache-Control": "no-store"})
        status = 503 if reply.outcome == "error" and reply.escalation.level == "none" else 200
        if status == 503:
            return error_response(503, reply.text)
        return JSONResponse(reply.model_dump(mode="json"))

    reading = {"Content-Security-Policy": READING}

    @app.get("/kb", response_class=HTMLResponse, summary="Every article")
    def kb_index() -> Response:
        return HTMLResponse(render_kb_index(retriever().index), headers=reading)

    @app.get("/kb/{article_id}", response_class=HTMLResponse, summary="An article, with its sources, dates and review status")
    def article(article_id: str) -> Response:
        page = render_article(retriever().index, article_id)
        if page is None:
            raise ApiError(404, "there is no such article")
        return HTMLResponse(page, headers=reading)

    @app.get("/docs", include_in_schema=False)
    def describe() -> Response:
        return HTMLResponse(render_api(app.openapi()), headers=reading)

    @app.get("/site.css", include_in_schema=False)
    def stylesheet() -> Response:
        return Response(page_file("site.css"), media_type="text/css")

    @app.get("/healthz", summary="Alive")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Able to answer: guardrail, index and models are loaded")
    def readyz() -> Response:
        try:
            read_policy(), read_rules(), read_thresholds()
            open_classifier().score(["ready?"])
        except (OSError, ValueError) as error:
            return error_response(503, f"the guardrail is not ready: {type(error).__name__}")
        try:
            build = retriever().index.build
        except BadIndex as error:
            return error_response(503, str(error))
        return JSONResponse({"status": "ready", "index": build, "model": chain.model})

    return app


def _check(messages: Sequence[Message]) -> None:
    """Refuse a conversation that cannot be answered."""
    last = len(messages) - 1
    if not messages or messages[last].role != "user":
        raise ApiError(422, "the last message must be the user's", f"messages.{max(last, 0)}.role")
    if len(messages) > MAX_MESSAGES:
        raise ApiError(422, f"a conversation may have at most {MAX_MESSAGES} messages", "messages")
    if not messages[last].content.strip():
        raise ApiError(422, "the message is empty", f"messages.{last}.content")
    for i, message in enumerate(messages):
        if len(message.content) > MAX_CHARACTERS * (1 if message.role == "user" else 4):
            raise ApiError(413, f"a message may have at most {MAX_CHARACTERS} characters", f"messages.{i}.content")
    if sum(len(message.content) for message in messages) > MAX_CONVERSATION:
        raise ApiError(413, f"a conversation may have at most {MAX_CONVERSATION} characters", "messages")


def _events(reply: Reply) -> Iterator[str]:
    """Yield the reply as server-sent events: the escalation always first, before any content."""

    def event(name: str, data: Any) -> str:
        return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"

    yield event("escalation", reply.escalation.model_dump(mode="json"))
    words = reply.text.split(" ")
    for start in range(0, len(words), 4):
        yield event("token", {"text": " ".join(words[start : start + 4]) + (" " if start + 4 < len(words) else "")})
    yield event("citations", [citation.model_dump(mode="json") for citation in reply.citations])
    yield event("done", reply.model_dump(mode="json"))


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error.status, error.message, error.field)

    @app.exception_handler(BadIndex)
    async def bad_index(_: Request, error: BadIndex) -> JSONResponse:
        log.error("index: %s", error)
        return error_response(503, "the articles cannot be looked up right now")

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(400, "the body is not JSON")
        field = ".".join(str(part) for part in first["loc"] if part != "body")
        return error_response(422, str(first["msg"]), field or None)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> JSONResponse:
        response = error_response(error.status_code, str(error.detail).lower())
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        log.error("request failed: %s", type(error).__name__)
        return error_response(500, "something went wrong here")
