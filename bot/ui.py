"""The Gradio chat page, mounted on / by `bot.serve`: a question, its answer as it comes, its sources, and the escalation first.

The conversation is shown with `gr.HTML` from our own templates and not with `gr.Chatbot`: that one reads what people and models write as
Markdown with images, labels each message with its source text, and is left-to-right only. The conversation itself is kept by the
browser (`gr.BrowserState`), never here.
"""

import datetime as dt
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from bot.chain import Chain
from bot.feedback import Feedback, store
from bot.pages import review_note
from bot.render import page_file, render
from bot.settings import Settings
from bot.talk import (
    MAX_EXCHANGES,
    Exchange,
    Talk,
    read_talk,
    read_wording,
    show_banner,
    show_draft,
    show_log,
    show_lost,
    show_sheet,
    show_source,
)
from bot.turn import MAX_CHARACTERS, Reply
from ingest.index import BadIndex, Index
from kb.red_flags import DEFAULT_REGION, read_policy

WORDS_PER_PIECE = 4
PIECE_S = 0.02
TOGETHER = 16
"""Turns that are answered at a time; more wait for their place."""
TITLE = "Backtalk: answers about back pain and running"
TO_SOURCE = "() => setTimeout(() => document.getElementById('bt-source-title')?.focus(), 60)"
TO_MARK = "() => { const mark = document.querySelector('.bt-mark[aria-expanded=true]'); mark?.setAttribute('aria-expanded', 'false'); mark?.focus(); }"
TO_BOX = "() => document.querySelector('#bt-box textarea')?.focus({preventScroll: true})"
TO_COMMENT = "() => setTimeout(() => document.querySelector('#bt-comment textarea')?.focus(), 60)"
SAVE = """() => setTimeout(() => {
  const file = new Blob([document.querySelector('.bt-markdown').textContent], {type: 'text/markdown'});
  const link = Object.assign(document.createElement('a'), {href: URL.createObjectURL(file), download: 'backtalk-conversation.md'});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}, 60)"""
PRINT = "() => setTimeout(() => window.print(), 60)"


def mount(app: FastAPI, settings: Settings, *, root_path: str = "") -> FastAPI:
    """Mount the chat page on `/` of the application and return it.

    Args:
        app: as made by `bot.api.create_app`.
        settings: the region to begin with, and where ratings are kept.
        root_path: the path that a proxy puts before ours, such as /backtalk.
    """
    page = build_page(
        app.state.chain,
        region=settings.region,
        ratings=settings.index / "feedback.sqlite",
        count=app.state.metrics.count,
        spend=app.state.limiter.spend,
    )
    look = gr.themes.Soft(primary_hue="emerald", neutral_hue="stone", font=["system-ui", "sans-serif"], font_mono=["monospace"])
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        root_path=root_path or None,
        theme=look,
        css=page_file("chat.css"),
        head=page_file("chat_head.html"),
        footer_links=[],
        max_file_size=1,  # Nothing is uploaded here.
    )
    return app


def build_page(chain: Chain, *, region: str, ratings: Path, count: Callable[[Reply], None], spend: Callable[[str, str], None]) -> gr.Blocks:
    """Build the page around a chain.

    Args:
        chain: answers.
        region: code of the region that a new conversation begins with.
        ratings: the SQLite file of thumbs and comments.
        count: is told each reply.
        spend: is told key and address of each turn, and refuses it by raising HTTPException if there were too many.
    """
    policy = read_policy()
    regions = [(place.name, code) for code, place in policy.regions.items()]
    first_region = region.upper() if region.upper() in policy.regions else DEFAULT_REGION

    def index() -> Index | None:
        try:
            return chain.open_retriever().index
        except BadIndex:
            return None  # Said by the reply; the page itself still stands.

    def load(kept: Any) -> tuple[Any, ...]:
        talk = read_talk(kept)
        place = talk.region if talk.region in policy.regions else first_region
        # Until the conversation is back nothing can be asked: an answer would be written over.
        ready = gr.update(interactive=True)
        return show_log(talk, note=review_note(index())), show_banner(talk.last_reply()), show_lost(place), place, ready, ready

    def ask(text: str, kept: Any, place: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        talk = read_talk(kept)
        question = text.strip()
        if trouble := refuse(question, talk, request):
            gr.Warning(trouble)
            yield {box: text}
            return
        talk.exchanges.append(Exchange(question=question))
        yield from answer(talk, place)

    def ask_choice(kept: Any, place: str, event: gr.EventData, request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield from ask(str(event._data.get("text", "")), kept, place, request)

    def ask_again(kept: Any, place: str, request: gr.Request) -> Iterator[dict[Any, Any]]:
        talk = read_talk(kept)
        if not talk.exchanges:
            return
        last = talk.exchanges.pop()
        if trouble := refuse(last.question, talk, request):
            gr.Warning(trouble)
            return
        talk.exchanges.append(Exchange(question=last.question))
        yield from answer(talk, place)

    def refuse(question: str, talk: Talk, request: gr.Request) -> str:
        if not question:
            return "Please type a question."
        if len(question) > MAX_CHARACTERS:
            return f"Please shorten your message to {MAX_CHARACTERS} characters."
        if len(talk.exchanges) >= MAX_EXCHANGES:
            return "This conversation is full. Save it if you like, then erase it to begin anew."
        try:
            spend("page", request.client.host if request.client else "")
        except HTTPException as error:
            return str(error.detail).capitalize() + "."
        return ""

    def answer(talk: Talk, place: str) -> Iterator[dict[Any, Any]]:
        talk.region = place
        # The question is kept before its answer is there: it survives the end of the server or of the connection.
        yield {
            kept_talk: talk.model_dump_json(),
            box: "",
            log: show_log(talk, waiting=True),
            draft: show_draft(None),
            panel: "",
            feedback: gr.Column(visible=False),
        }
        reply = chain.respond(talk.messages(), region=place)
        count(reply)
        talk.exchanges[-1].reply = reply
        # The whole reply is checked by now; the alert comes before its first word.
        yield {alert: show_banner(reply), kept_talk: talk.model_dump_json()}
        words = reply.text.split(" ")
        for end in range(WORDS_PER_PIECE, len(words), WORDS_PER_PIECE):
            yield {draft: show_draft(" ".join(words[:end]))}
            time.sleep(PIECE_S)
        yield {draft: "", log: show_log(talk)}

    def move(kept: Any, place: str) -> Iterator[dict[Any, Any]]:
        """Keep the region; advice that is in force is given again with its numbers."""
        talk = read_talk(kept)
        yield {lost: show_lost(place)}
        last = talk.last_reply()
        if talk.exchanges and last and last.escalation.level != "none":
            talk.exchanges[-1] = Exchange(question=talk.exchanges[-1].question)
            yield from answer(talk, place)
        else:
            talk.region = place
            yield {kept_talk: talk.model_dump_json()}

    def show(kept: Any, event: gr.EventData) -> str:
        exchange = read_talk(kept).find(str(event._data.get("id", "")))
        citations = exchange.reply.citations if exchange and exchange.reply else []
        found = next((citation for citation in citations if str(citation.n) == str(event._data.get("n"))), None)
        return show_source(found, index()) if found else ""

    def rate(kept: Any, event: gr.EventData) -> tuple[Any, ...]:
        talk, rating = read_talk(kept), event._data.get("rating")
        exchange = talk.find(str(event._data.get("id", "")))
        if exchange is None or rating not in ("up", "down"):
            return (gr.skip(),) * 5
        exchange.rating = rating
        keep(Feedback(rating=rating, consent=False, reply_id=exchange.id))
        return talk.model_dump_json(), show_log(talk), gr.Column(visible=True), "", exchange.id

    def comment_on(kept: Any, words: str, consent: bool, exchange_id: str) -> tuple[Any, ...]:
        talk = read_talk(kept)
        exchange = talk.find(exchange_id)
        if exchange and exchange.rating and (words.strip() or consent):
            messages = talk.messages() if consent else None
            keep(Feedback(rating=exchange.rating, comment=words.strip() or None, consent=consent, messages=messages, reply_id=exchange.id))
        gr.Info("Thank you.")
        return gr.Column(visible=False), "", False

    def keep(feedback: Feedback) -> None:
        try:
            store(ratings, feedback)
        except (sqlite3.Error, OSError) as error:
            raise gr.Error("The feedback cannot be stored right now.", print_exception=False) from error

    def erase(place: str) -> tuple[Any, ...]:
        empty = Talk(region=place)
        return empty.model_dump_json(), show_log(empty, note=review_note(index())), "", "", "", "", gr.Column(visible=False)

    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        # The name of the key, not a secret: what it encrypts is in the person's own browser, and must outlive a restart of the server.
        kept_talk = gr.BrowserState(None, storage_key="backtalk", secret="backtalk")
        rated = gr.State("")
        gr.HTML(render("head.html", wording=read_wording()), elem_id="bt-head", apply_default_css=False)
        with gr.Column(elem_id="bt-top"):
            alert = gr.HTML(elem_id="bt-alert", apply_default_css=False)
            places = gr.Dropdown(regions, value=first_region, label="Phone numbers for", elem_id="bt-places", filterable=False)
        with gr.Row(elem_id="bt-main"):
            with gr.Column(elem_id="bt-talk", scale=3, min_width=0):
                log = gr.HTML(elem_id="bt-log", js_on_load=page_file("chat.js") + page_file("scroll.js"), apply_default_css=False)
                draft = gr.HTML(elem_id="bt-draft", apply_default_css=False)
                lost = gr.HTML(elem_id="bt-lost", js_on_load=page_file("asking.js"), apply_default_css=False)
                with gr.Column(visible=False, elem_id="bt-feedback") as feedback:
                    comment = gr.Textbox(label="Would you like to say why? (optional)", lines=2, max_length=2000, elem_id="bt-comment")
                    consent = gr.Checkbox(label="Keep this conversation with my comment, so that the answer can be looked into")
                    with gr.Row():
                        send_comment = gr.Button("Send", size="sm", variant="primary", min_width=90)
                        no_comment = gr.Button("No, thank you", size="sm", min_width=90)
                with gr.Row(elem_id="bt-composer"):
                    box = gr.Textbox(
                        label="Your question",
                        placeholder="Ask about your back",
                        lines=1,
                        max_lines=6,
                        scale=8,
                        min_width=0,
                        max_length=MAX_CHARACTERS,
                        elem_id="bt-box",
                        interactive=False,
                    )
                    send = gr.Button("Ask", variant="primary", scale=0, min_width=80, elem_id="bt-send", interactive=False)
                with gr.Row(elem_id="bt-tools"):
                    save = gr.Button("Save as text file", size="sm", min_width=120)
                    on_paper = gr.Button("Print", size="sm", min_width=80)
                    wipe = gr.Button("Erase this conversation", size="sm", min_width=140)
            panel = gr.HTML(elem_id="bt-panel", js_on_load=page_file("chat.js"), apply_default_css=False)
        gr.HTML(render("foot.html"), elem_id="bt-foot", apply_default_css=False)
        sheet = gr.HTML(elem_id="bt-paper", apply_default_css=False)

        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        turn: dict[str, Any] = {**quiet, "concurrency_limit": TOGETHER, "concurrency_id": "turn"}
        shown = [box, kept_talk, log, draft, alert, panel, feedback]
        page.load(load, kept_talk, [log, alert, lost, places, box, send], **quiet)
        gr.on([box.submit, send.click], ask, [box, kept_talk, places], shown, **turn)
        log.option_select(ask_choice, [kept_talk, places], shown, **turn).then(None, js=TO_BOX)
        log.retry(ask_again, [kept_talk, places], shown, **turn)
        places.input(move, [kept_talk, places], [*shown, lost], **turn)
        log.select(show, kept_talk, panel, **quiet).then(None, js=TO_SOURCE)
        panel.collapse(lambda: "", None, panel, **quiet).then(None, js=TO_MARK)
        log.like(rate, kept_talk, [kept_talk, log, feedback, comment, rated], **quiet).then(None, js=TO_COMMENT)
        send_comment.click(comment_on, [kept_talk, comment, consent, rated], [feedback, comment, consent], **quiet).then(None, js=TO_BOX)
        no_comment.click(lambda: gr.Column(visible=False), None, feedback, **quiet).then(None, js=TO_BOX)
        paper: Callable[[Any], str] = lambda kept: show_sheet(read_talk(kept), dt.datetime.now().astimezone())  # noqa: E731
        save.click(paper, kept_talk, sheet, **quiet).then(None, js=SAVE)
        on_paper.click(paper, kept_talk, sheet, **quiet).then(None, js=PRINT)
        wipe.click(erase, places, [kept_talk, log, alert, draft, panel, sheet, feedback], **quiet).then(None, js=TO_BOX)
    return page
