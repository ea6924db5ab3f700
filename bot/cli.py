"""The command `backtalk`: parse, call, print. Exit status: 0 done, 1 the thing checked did not hold, 2 bad usage or input."""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

# Before any import of theirs: no telemetry, no hub.
os.environ.setdefault("ANONYMIZED_TELEMETRY", "False")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from bot.settings import BadSetting, Settings, read_settings
from bot.turn import MAX_CHARACTERS, MAX_MESSAGES, Message, Reply
from ingest.cli import BadInput, Engine, fail, write
from ingest.index import KEPT_BUILDS, BadIndex, Store

SETTINGS_HELP = "Settings come from options, then the environment, then .env: " + "; ".join(
    f"BACKTALK_{name.upper()}: {field.description}" for name, field in Settings.model_fields.items()
)
app = typer.Typer(
    help="Cited answers about back pain, above all in runners. Information, not a diagnosis.",
    epilog=SETTINGS_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
index_app = typer.Typer(help="The builds of the index: list them, make one live, delete old ones.", no_args_is_help=True)
app.add_typer(index_app, name="index")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
KbOption = Annotated[Path | None, typer.Option("--kb", help="Folder of the knowledge base.")]
IndexOption = Annotated[Path | None, typer.Option("--index", help="Folder of the index.")]
RegionOption = Annotated[str | None, typer.Option("--region", help="Whose numbers to give: GB IE US CA AU NZ IN EU.")]


def main() -> None:
    """Run the command; what the user did wrong becomes one line on standard error and status 2."""
    logging.basicConfig(level=logging.CRITICAL, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except (BadSetting, BadInput, BadIndex) as error:
        fail(str(error))
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


@app.command()
def ask(question: str, as_json: Json = False, region: RegionOption = None, index: IndexOption = None) -> None:
    """Answer one question."""
    reply = _respond(read_settings(index=index), [_message(question)], region)
    write(reply.model_dump_json(indent=1) if as_json else as_text(reply))


@app.command()
def chat(region: RegionOption = None, index: IndexOption = None) -> None:
    """Talk in the terminal; an empty line or Ctrl-D ends it."""
    from bot.open import open_chain

    chain = open_chain(read_settings(index=index))
    history: list[Message] = []
    write("Ask about back pain. Information, not a diagnosis; not yet reviewed by a clinician. An empty line ends the chat.")
    while True:
        try:
            line = input("\nyou> ").strip()
        except EOFError:
            break
        if not line:
            break
        if len(line) > MAX_CHARACTERS:
            write(f"That is longer than {MAX_CHARACTERS} characters; please shorten it.")
            continue
        history.append(Message(role="user", content=line))
        reply = chain.respond(history, region=region)
        history.append(Message(role="assistant", content=reply.text))
        write("\n" + as_text(reply))


@app.command()
def batch(source: Path, target: Path, index: IndexOption = None) -> None:
    """Answer every line of SOURCE (JSON Lines) into TARGET, in order; a bad line gets an error and does not stop the rest."""
    from bot.open import open_chain

    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{source}: cannot be read: {error}") from error
    chain = open_chain(read_settings(index=index))
    bad = 0
    try:
        with target.open("w", encoding="utf-8") as out:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                result = _answer_line(chain.respond, line, number)
                bad += "error" in result
                out.write(json.dumps(result, ensure_ascii=False) + "\n")
    except OSError as error:
        raise BadInput(f"{target}: cannot be written: {error}") from error
    if bad:
        print(f"backtalk: {bad} of {len(lines)} lines could not be read; see 'error' in {target}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1)


@app.command()
def search(
    query: str,
    k: Annotated[int, typer.Option("-k", min=1, max=200, help="How many passages.")] = 10,
    as_json: Json = False,
    index: IndexOption = None,
) -> None:
    """Show what the retriever finds, best first."""
    from bot.open import LiveRetriever

    passages = LiveRetriever(read_settings(index=index))().search(_message(query).content, top_k=k)
    rows = [{"chunk_id": p.chunk.id, "article_id": p.chunk.article_id, "score": p.score, "text": p.chunk.text} for p in passages]
    if as_json:
        write(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        for row, passage in zip(rows, passages, strict=True):
            write(f"{passage.score:.3f}  {row['chunk_id']}\n       {passage.chunk.heading_path}")


@app.command()
def check(kb: KbOption = None, as_json: Json = False) -> None:
    """Vet a knowledge base without indexing it."""
    from ingest.cli import check as run

    raise SystemExit(run(read_settings(kb=kb).kb, as_json=as_json))


@app.command()
def ingest(
    kb: KbOption = None,
    index: IndexOption = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Embed everything anew.")] = False,
    engine: Annotated[Engine, typer.Option("--engine", help="Where to embed: here, or on a Ray cluster (extra 'ray').")] = "local",
    as_json: Json = False,
) -> None:
    """Vet, chunk, embed and store; only what changed is embedded."""
    from ingest.cli import ingest as run
    from ingest.cli import print_report

    settings = read_settings(kb=kb, index=index)
    store = Store(settings.index, url=settings.chroma_url)
    try:
        report, problems = run(
            settings.kb,
            store,
            model=settings.embedding_model,
            rebuild=rebuild,
            reviewed_only=settings.reviewed_only,
            engine=engine,
        )
    except ValueError as error:
        raise BadInput(str(error)) from error
    except OSError as error:
        raise BadInput(f"{settings.index}: cannot be written: {error}") from error
    raise SystemExit(print_report(report, problems, as_json=as_json))


@index_app.command("list")
def index_list(index: IndexOption = None, as_json: Json = False) -> None:
    """Show the builds of the index, oldest first; '*' marks the live one."""
    from ingest.cli import list_builds

    list_builds(_store(read_settings(index=index)), as_json=as_json)


@index_app.command("use")
def index_use(build: str, index: IndexOption = None) -> None:
    """Make BUILD the live one, without downtime: to roll back, or to go forward again."""
    from ingest.cli import use_build

    use_build(_store(read_settings(index=index)), build)


@index_app.command("prune")
def index_prune(
    keep: Annotated[int, typer.Option(min=0, help="How many of the newest builds to keep, besides the live one.")] = KEPT_BUILDS,
    index: IndexOption = None,
) -> None:
    """Delete older builds, and what interrupted ones left."""
    from ingest.cli import prune_builds

    prune_builds(_store(read_settings(index=index)), keep=keep)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    root_path: Annotated[str, typer.Option(help="Path that a proxy puts before ours, such as /backtalk.")] = "",
    kb: KbOption = None,
    index: IndexOption = None,
) -> None:
    """Serve the chat page, the HTTP API and the widget; builds the index first if there is none."""
    from bot.serve import serve as run

    run(read_settings(kb=kb, index=index), host=host, port=port, open_browser=open_browser, root_path=root_path)


def as_text(reply: Reply) -> str:
    """Return a reply for the terminal: its text, then its sources."""
    lines = [reply.text]
    if reply.citations:
        lines.append("\nSources")
        for citation in reply.citations:
            sources = "; ".join(f"{source.title} ({source.publisher}, {source.year}) {source.url}" for source in citation.sources)
            lines.append(f"[{citation.n}] {citation.title}: {citation.section}\n    {sources}")
    if reply.follow_ups:
        lines.append("\nYou could also ask: " + " · ".join(reply.follow_ups))
    return "\n".join(lines)


def _store(settings: Settings) -> Store:
    return Store(settings.index, url=settings.chroma_url)


def _message(text: str) -> Message:
    if not text.strip():
        raise BadInput("the question is empty")
    if len(text) > MAX_CHARACTERS:
        raise BadInput(f"the question has {len(text)} characters; at most {MAX_CHARACTERS} are read")
    return Message(role="user", content=text)


def _respond(settings: Settings, messages: list[Message], region: str | None) -> Reply:
    from bot.open import open_chain

    reply = open_chain(settings).respond(messages, region=region)
    if reply.outcome == "error" and reply.escalation.level == "none":
        # An index that cannot be opened is the caller's to mend; say which and where.
        Store(settings.index, url=settings.chroma_url)
        from ingest.index import Index

        Index(Store(settings.index, url=settings.chroma_url), model=settings.embedding_model)
    return reply


def _answer_line(respond: Any, line: str, number: int) -> dict[str, Any]:
    name: Any = None
    try:
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        name = data.get("id")
        messages = [Message.model_validate(message) for message in data.get("messages") or []]
        if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
            raise ValueError("messages: must end with a user message that is not empty")
        if len(messages) > MAX_MESSAGES or any(len(message.content) > MAX_CHARACTERS for message in messages):
            raise ValueError(f"messages: at most {MAX_MESSAGES}, of at most {MAX_CHARACTERS} characters")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return {"id": name, "error": f"line {number}: messages.{'.'.join(map(str, first['loc']))}: {first['msg']}"}
    except ValueError as error:
        return {"id": name, "error": f"line {number}: {error}"}
    reply: Reply = respond(messages, region=data.get("region"))
    return {"id": name, "reply": reply.model_dump(mode="json")}
