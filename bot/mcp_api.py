"""The door for assistants that speak the Model Context Protocol: one tool, `ask_about_back_pain`, over streamable HTTP at `/mcp`.

An assistant gets the whole Reply as data, the escalation in it; what it must do with it stands in the tool's description.
"""

from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Request
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.chain import Chain
from bot.errors import ApiError
from bot.turn import MAX_MESSAGES, Message, Reply

PATH = "/mcp"
INSTRUCTIONS = (
    "Answers about back pain, above all in runners, from vetted articles. Information, not a diagnosis. When `escalation.level` is not "
    "'none', pass `escalation.advice` on to the person first, unchanged, before anything else. Keep the citation marks and their sources."
)


def mcp_server(chain: Chain, *, count: Callable[[Reply], None], check: Callable[[Sequence[Message]], None]) -> MCPServer:
    """Return the server with its one tool.

    Args:
        chain: answers.
        count: is told each reply.
        check: refuses a conversation that cannot be answered, by raising ApiError.
    """
    server = MCPServer("backtalk", title="Backtalk", instructions=INSTRUCTIONS, log_level="ERROR")

    @server.tool(title="Ask about back pain", description=INSTRUCTIONS)
    async def ask_about_back_pain(
        question: Annotated[str, Field(description="The person's question or symptom, in their own words.")],
        earlier: Annotated[
            list[Message],
            Field(description="The conversation before it, oldest first; red flags in it stay in force.", max_length=MAX_MESSAGES - 1),
        ] = [],  # noqa: B006 - read only; the schema shows it as the default
        region: Annotated[str | None, Field(description="Whose phone numbers: GB IE US CA AU NZ IN EU.", max_length=8)] = None,
    ) -> Reply:
        messages = [*earlier, Message(role="user", content=question)]
        try:
            check(messages)
        except ApiError as error:
            raise ToolError(error.message) from error
        reply = await run_in_threadpool(chain.respond, messages, region=region)
        count(reply)
        return reply

    return server


def mcp_route(server: MCPServer, *, allow: Callable[[Request], None]) -> Route:
    """Return the route `/mcp`, stateless; each call passes `allow` first, which raises HTTPException.

    The server's `session_manager` must run while the application does.
    """
    # Nothing here is private to this machine, and behind a proxy the host is another: the check of host names is of no use.
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    inner = server.streamable_http_app(stateless_http=True, json_response=True, transport_security=security, streamable_http_path=PATH)
    return Route(PATH, endpoint=_Guarded(inner.routes[0].app, allow))  # type: ignore[attr-defined]


class _Guarded:
    """An ASGI application behind a check."""

    def __init__(self, app: ASGIApp, allow: Callable[[Request], None]) -> None:
        self.app, self.allow = app, allow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.allow(Request(scope))
        await self.app(scope, receive, send)
