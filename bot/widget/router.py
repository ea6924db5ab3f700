"""Serves the support widget and the demo page. The safety policy is written into the script, so that it needs no server to warn."""

import base64
import gzip
import hashlib
import json
import re
from importlib import resources

import yaml
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from bot.guardrail.advice import fail_closed_advice
from bot.render import numbers_to_call
from kb.red_flags import Policy, read_policy

SLOT = "/* policy */ null"
CACHE = "public, max-age=300, stale-while-revalidate=86400"


def widget_router(*, region: str) -> APIRouter:
    """Return the routes `/widget.js`, `/widget/<language>.json` and `/demo`.

    Args:
        region: code of the region whose numbers are given where the page names none.
    """
    router = APIRouter()
    script = write_script(region).encode()
    packed = gzip.compress(script, 9, mtime=0)
    tag = f'W/"{hashlib.sha256(script).hexdigest()[:16]}"'
    languages = read_languages()
    demo = (resources.files("bot") / "pages" / "demo.html").read_text(encoding="utf-8")
    demo_policy = _content_policy(demo)

    @router.get("/widget.js", summary="The support widget: one script tag embeds it")
    def widget(request: Request) -> Response:
        headers = {
            "ETag": tag,
            "Cache-Control": CACHE,
            "Vary": "Accept-Encoding",
            # Pages that isolate themselves (COEP) may load it, too.
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        if tag.removeprefix("W/") in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(packed, media_type="text/javascript", headers={**headers, "Content-Encoding": "gzip"})
        return Response(script, media_type="text/javascript", headers=headers)

    @router.get("/widget/{language}.json", summary="The words of the widget's frame in another language")
    def words(language: str) -> Response:
        if language not in languages:
            raise HTTPException(404, "there is no such language")
        # Words only: any page may read them, as it may read the script.
        return JSONResponse(languages[language], headers={"Cache-Control": CACHE, "Access-Control-Allow-Origin": "*"})

    @router.get("/demo", response_class=HTMLResponse, summary="A page of another site's look that embeds the widget")
    def show_demo() -> Response:
        return HTMLResponse(demo, headers={"Content-Security-Policy": demo_policy})

    return router


def read_languages() -> dict[str, dict[str, str]]:
    """Read `languages.yaml`: the words of the frame by language."""
    text = (resources.files("bot.widget") / "languages.yaml").read_text(encoding="utf-8")
    return {str(language): dict(words) for language, words in yaml.safe_load(text).items()}


def write_script(region: str) -> str:
    """Return `widget.js` with the policy's words and numbers in it."""
    source = (resources.files("bot.widget") / "widget.js").read_text(encoding="utf-8")
    if source.count(SLOT) != 1:
        raise ValueError(f"widget.js must hold {SLOT!r} once")
    return source.replace(SLOT, json.dumps(_safety(read_policy(), region), ensure_ascii=False, separators=(",", ":")))


def _safety(policy: Policy, region: str) -> dict[str, object]:
    """Return what the widget says without asking: level titles, and per region the advice for an unchecked message."""
    return {
        "region": region.upper() if region.upper() in policy.regions else "ZZ",
        "levels": {level: wording.title for level, wording in policy.levels.items()},
        "regions": {code: {"name": place.name, "advice": fail_closed_advice(code)} for code, place in policy.regions.items()},
        "numbers": numbers_to_call(policy),
    }


def _content_policy(page: str) -> str:
    """Return the strictest policy under which the demo still shows; its own style is let in by its hash."""
    styles = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" for style in styles)
    return (
        f"default-src 'none'; script-src 'self'; connect-src 'self'; style-src {hashes}; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'; require-trusted-types-for 'script'"
    )
