"""The Gradio chat page: messages with citation marks, their sources, and the escalation banner. Mounted on / by `bot.serve`."""

import html
from typing import Any

import gradio as gr
from fastapi import FastAPI

from bot.chain import Chain
from bot.settings import Settings
from bot.turn import MAX_CHARACTERS, MAX_MESSAGES, Citation, Message, Reply
from kb.red_flags import read_policy

EXAMPLES = [
    ("Running", "Is running bad for my back?"),
    ("Running", "When can I run again after a sore back?"),
    ("Relief", "Heat or ice for a sore back?"),
    ("Exercise", "Which exercises help low back pain?"),
    ("Medicines", "Should I take ibuprofen before a run?"),
    ("When to worry", "When is back pain an emergency?"),
]
INTRO = """
<header class="bt-head">
<h1>Backtalk</h1>
<p>Answers about back pain, above all in runners. Every sentence comes from a checked article with its source.</p>
<p class="bt-note">Information, not a diagnosis. Articles are written from cited sources, not yet reviewed by a clinician.
<a href="kb">All articles</a></p>
</header>
"""
# Drawn, not emoji: a machine without an emoji font must still show a warning sign.
ICON = (
    '<svg aria-hidden="true" width="22" height="22" viewBox="0 0 24 24" style="display:inline;vertical-align:-4px" fill="none" stroke="currentColor" '
    'stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"><path d="M12 3 2.5 20h19z"/><path d="M12 10v4.5M12 17.6v.1"/></svg>'
)
CSS = """
:root { --bt-accent: #0b5c4a; }
.gradio-container { max-width: 56rem !important; margin: auto !important; }
.bt-head h1 { font-size: 1.7rem; margin: 0; } .bt-head p { margin: .2rem 0; } .bt-note { opacity: .85; font-size: .92rem; }
.bt-banner { border: 2px solid #b3261e; border-left-width: .6rem; border-radius: .6rem; padding: .8rem 1rem; background: #fdecea; color: #3b0906; }
.bt-banner.urgent { border-color: #b06000; background: #fff4e2; color: #3d2200; }
.bt-banner.see_doctor { border-color: #1d5fa8; background: #eaf2fc; color: #0a2745; }
.bt-banner strong { color: inherit; } .bt-banner h2 { margin: 0 0 .3rem; font-size: 1.15rem; color: inherit; } .bt-banner p { margin: 0; color: inherit; }
.bt-sources { font-size: .95rem; } .bt-sources details { border: 1px solid var(--border-color-primary); border-radius: .5rem; padding: .45rem .8rem; margin: .35rem 0; }
.bt-sources summary { cursor: pointer; overflow-wrap: anywhere; } .bt-sources blockquote { margin: .5rem 0; padding-left: .8rem; border-left: 3px solid var(--bt-accent); }
.bt-sources h2 { font-size: 1.05rem; margin: .4rem 0; }
footer { display: none !important; }
"""


def mount(app: FastAPI, settings: Settings) -> FastAPI:
    """Mount the chat page on `/` of the application and return it."""
    page = build_page(app.state.chain, settings)
    theme = gr.themes.Soft(primary_hue="emerald", neutral_hue="stone", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    gr.mount_gradio_app(app, page, path="/", theme=theme, css=CSS, footer_links=[])
    return app


def build_page(chain: Chain, settings: Settings) -> gr.Blocks:
    """Build the page around a chain."""
    policy = read_policy()
    regions = [(region.name, code) for code, region in policy.regions.items()]

    def respond(text: str, history: list[dict[str, Any]], region: str) -> tuple[str, list[dict[str, Any]], str, str, Any]:
        if not text.strip():
            raise gr.Error("Please type a question.", print_exception=False)
        if len(text) > MAX_CHARACTERS:
            raise gr.Error(f"Please shorten your message to {MAX_CHARACTERS} characters.", print_exception=False)
        shown = [*history, {"role": "user", "content": text}]
        messages = [Message(role=m["role"], content=_plain(m["content"])) for m in shown][-MAX_MESSAGES:]
        reply = chain.respond(messages, region=region)
        shown.append({"role": "assistant", "content": reply.text})
        samples = [[question] for question in reply.follow_ups]
        return "", shown, banner(reply), sources(reply.citations), gr.Dataset(samples=samples, visible=bool(samples))

    def clear() -> tuple[list[dict[str, Any]], str, str, Any]:
        return [], "", "", gr.Dataset(samples=[], visible=False)

    with gr.Blocks(title="Backtalk: answers about back pain and running", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(INTRO)
        alert = gr.HTML(elem_id="bt-alert")
        chat = gr.Chatbot(
            label="Conversation",
            height=460,
            buttons=["copy"],
            elem_id="bt-chat",
            allow_tags=False,
            placeholder="Ask a question below, or choose one.",
        )
        with gr.Row():
            box = gr.Textbox(
                label="Your question",
                placeholder="For example: my lower back aches after long runs",
                lines=1,
                max_lines=6,
                scale=8,
                max_length=MAX_CHARACTERS,
            )
            send = gr.Button("Ask", variant="primary", scale=1, min_width=90)
        follow = gr.Dataset(components=[gr.Textbox(visible=False)], samples=[], label="You could also ask", visible=False)
        shelf = gr.HTML(elem_id="bt-sources")
        starters = gr.Dataset(
            components=[gr.Textbox(visible=False)], samples=[[question] for _, question in EXAMPLES], label="Try one of these"
        )
        with gr.Row():
            region = gr.Dropdown(
                regions,
                value=settings.region if settings.region in policy.regions else "ZZ",
                label="Where are you? (for phone numbers)",
                scale=3,
            )
            wipe = gr.Button("Clear the conversation", scale=1)
        outputs = [box, chat, alert, shelf, follow]
        for trigger in (box.submit, send.click):
            trigger(respond, [box, chat, region], outputs, api_visibility="private", show_progress="minimal")
        for dataset in (starters, follow):
            dataset.click(lambda row: row[0], dataset, box, api_visibility="private").then(
                respond, [box, chat, region], outputs, api_visibility="private", show_progress="minimal"
            )
        wipe.click(clear, None, [chat, alert, shelf, follow], api_visibility="private")
    return page


def banner(reply: Reply) -> str:
    """Return the escalation as an alert that stays above the conversation while the flag is in force; '' without one."""
    level = reply.escalation.level
    if level == "none":
        return ""
    wording = read_policy().levels[level]
    first = reply.escalation.advice.split("\n\n")[0].replace("**", "")
    return f'<div class="bt-banner {level}" role="alert"><h2>{ICON} {html.escape(wording.title)}</h2><p>{html.escape(first)}</p></div>'


def sources(citations: list[Citation]) -> str:
    """Return the sources of the last answer: each mark with its quoted words, its article and its publications."""
    if not citations:
        return ""
    rows = []
    for c in citations:
        works = "".join(
            f'<li><a href="{html.escape(s.url, quote=True)}" target="_blank" rel="noopener noreferrer nofollow">{html.escape(s.title)}</a>, '
            f"{html.escape(s.publisher)}, {html.escape(str(s.year))}</li>"
            for s in c.sources
        )
        rows.append(
            f"<details><summary>[{c.n}] {html.escape(c.title)}: {html.escape(c.section)}</summary><blockquote>{html.escape(c.quote)}</blockquote>"
            f'<p><a href="{html.escape(c.url.lstrip("/"), quote=True)}" target="_blank">Read this section</a>. Evidence: {html.escape(c.evidence)}. '
            f"Checked {html.escape(c.checked)}; {html.escape(c.review_status)}.</p><ul>{works}</ul></details>"
        )
    return f'<section class="bt-sources" aria-label="Sources of the last answer"><h2>Sources</h2>{"".join(rows)}</section>'


def _plain(content: Any) -> str:
    """Return a message's text; the page sends it as a string or as a list of parts."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
