"""Sets the security headers that every response carries, whoever makes it: ours, Gradio's, or an error."""

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio makes functions from its templates' text, hence 'unsafe-eval'; it may load and call nothing but this server.
PAGE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
READING = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
"""For pages of ours that only are to be read."""
OTHERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SecurityHeaders:
    """Adds the headers that a response lacks; a policy of its own that says nothing of frames gets that, too."""

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        """Wrap an application; `origins` are the sites that may show it in a frame."""
        self.app = app
        self.ancestors = "frame-ancestors " + " ".join(["'self'", *origins])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on and add to its response."""

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in OTHERS.items():
                    headers.setdefault(name, value)
                policy = headers.get("Content-Security-Policy", PAGE)
                headers["Content-Security-Policy"] = policy if "frame-ancestors" in policy else f"{policy}; {self.ancestors}"
            await send(message)

        await self.app(scope, receive, add if scope["type"] == "http" else send)
