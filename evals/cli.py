"""`backtalk eval`, and the console script: the bot's commands with this one added, since `bot` may not know `evals`."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from typer.core import TyperGroup

from bot import cli as bot_cli
from bot.settings import read_settings
from ingest.cli import BadInput, write

if TYPE_CHECKING:
    from evals.suite import Suite

RUN = "run"


class _RunByDefault(TyperGroup):
    """`backtalk eval guardrail --json` means `backtalk eval run guardrail --json`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = [RUN, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunByDefault,
    add_completion=False,
    help="Measure the bot. 'backtalk eval SUITE ...' runs suites; 'backtalk eval run --help' lists its options.",
)
bot_cli.app.add_typer(app, name="eval")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def main() -> None:
    """Run the command `backtalk`."""
    bot_cli.main()


@app.command(RUN)
def run(
    suites: Annotated[
        list[str] | None, typer.Argument(help="Names of suites, or paths of suite files; all suites if none is given.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your own data for one suite: a JSON Lines file, or a BEIR folder for retrieval.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; an interrupted run there is taken up.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Baseline to compare with, instead of the saved one.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first cases of each suite; gates hold, the baseline is left out.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Cases at a time, except where time is measured.")] = min(4, os.cpu_count() or 1),
    target: Annotated[
        str | None,
        typer.Option(help="Another system in the bot's place: its address, or a built-in baseline such as 'always escalate'."),
    ] = None,
    protocol: Annotated[str, typer.Option(help="What --target speaks: backtalk (/api/chat), openai (/v1), or auto to find out.")] = "auto",
    model: Annotated[str, typer.Option(help="Model to ask of an OpenAI-compatible --target; its first one if not given.")] = "",
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Also measure the baselines that must first learn or index something.")
    ] = False,
    results: Annotated[Path | None, typer.Option(help="Write the table of the bot and its baselines there as Markdown.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="Language model that judges key facts too: provider:model, such as openai:gpt-5-mini.")
    ] = None,
    judge_url: Annotated[str, typer.Option(help="Address of an OpenAI-compatible server for --judge.")] = "",
    rescore: Annotated[bool, typer.Option("--rescore", help="Only score again what the finished run in --out observed.")] = False,
    as_json: Json = False,
) -> None:
    """Run suites, print a table, write results and a report; status 1 when a gate or the baseline is missed."""
    # Here and below: scipy, the models and Chroma take a second to import, which 'backtalk ask' need not pay.
    from evals.suite import read_suite, suite_names

    chosen = [read_suite(name) for name in suites or suite_names()]
    if protocol not in ("auto", "backtalk", "openai"):
        raise BadInput(f"--protocol: {protocol!r} is not auto, backtalk or openai")
    if (data or baseline) and len(chosen) != 1:
        raise BadInput(f"{'--data' if data else '--baseline'}: name the one suite that it is for")
    if rescore and (limit or not out):
        raise BadInput("--rescore: name the finished run with --out, and no --limit")
    if target and "://" not in target and not suites:
        raise BadInput(f"--target: {target!r} is no address; for a built-in baseline name the suites as well")
    if judge and not any(suite.kind == "answers" for suite in chosen):
        raise BadInput("--judge: only the suite 'answers' has key facts to judge")
    if data:
        chosen = [chosen[0].on(data)]
    _check(chosen)
    from evals.judge import open_judge
    from evals.progress import progress_bar
    from evals.session import evaluate
    from evals.table import show
    from evals.target import Protocol, Target

    settings = read_settings()
    address = Target(target, protocol=cast("Protocol", protocol), model=model) if target and "://" in target else None
    if address and not suites:
        # What a system behind a URL retrieves cannot be seen.
        chosen = [suite for suite in chosen if suite.kind != "retrieval"]
    with progress_bar(quiet=as_json) as tick:
        try:
            done = evaluate(
                chosen,
                settings,
                folder=out,
                own_data=data is not None,
                baseline=baseline,
                limit=limit,
                jobs=jobs,
                tick=tick,
                rescore=rescore,
                target=address,
                rival=None if address else target,
                baselines=baselines,
                judge=open_judge(judge, settings, base_url=judge_url) if judge else None,
            )
        except KeyboardInterrupt:
            print("backtalk: interrupted; what was done is kept: start again with the same --out", file=sys.stderr)  # noqa: T201
            raise
    if results:
        results.write_text((done.folder / "results.md").read_text(encoding="utf-8"), encoding="utf-8")
    if as_json:
        write(json.dumps(done.summary, indent=1, ensure_ascii=False))
    else:
        show(done.summary)
        write(f"report: {done.folder / 'report.html'}")
    for line in done.failures:
        print(f"gate failed: {line}", file=sys.stderr)  # noqa: T201
    raise SystemExit(1 if done.failures else 0)


@app.command()
def compare(run_a: Path, run_b: Path, as_json: Json = False) -> None:
    """Show two finished runs side by side, flipped cases first."""
    from evals.compare import compare_runs
    from evals.table import show_comparison

    parts = compare_runs(run_a, run_b)
    if as_json:
        write(json.dumps({"suites": [asdict(part) for part in parts]}, indent=1, ensure_ascii=False))
    else:
        show_comparison(parts)


@app.command()
def bless(
    suite: str,
    why: Annotated[str, typer.Option(help="Why these numbers are accepted; it is kept with them.")],
    run_folder: Annotated[Path | None, typer.Option("--run", help="Folder of the run; the newest of the suite if not given.")] = None,
) -> None:
    """Make a finished run the saved baseline of a suite, which later runs are compared with."""
    from evals.baseline import bless as save

    done = save(suite, why, run_folder)
    write(f"{done.path}: {done.cases} cases of {done.run}")


@app.command()
def draft(
    target: Annotated[Path, typer.Argument(help="JSON Lines file to which the drafts are added.")],
    feedback: Annotated[Path | None, typer.Option(help="Database of ratings; that beside the index if not given.")] = None,
) -> None:
    """Turn complaints that came with consent into draft cases, to be labelled by a person; those already there are left alone."""
    from evals.draft import draft_cases

    done = draft_cases(feedback or read_settings().index / "feedback.sqlite", target)
    write(f"{target}: {done.added} drafts added, {done.known} were there, {done.without_consent} complaints came without a conversation")


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="Write one file a format into this folder instead of printing all.")] = None,
) -> None:
    """Print the formats of suites and data lines as JSON Schema; those of this version are in evals/schema/."""
    from evals.schema import schemas, write_schemas

    if not out:
        write(json.dumps(schemas(), indent=1, ensure_ascii=False))
        return
    try:
        write("\n".join(map(str, write_schemas(out))))
    except OSError as error:
        raise BadInput(f"--out: {out}: cannot be written: {error.strerror}") from error


def _check(suites: "list[Suite]") -> None:
    names = [suite.name for suite in suites]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise BadInput(f"{twice}: named twice")
    missing = next(((suite, path) for suite in suites for path in suite.data if not path.exists()), None)
    if missing:
        raise BadInput(f"{missing[1]}: no such file, needed by suite {missing[0].name!r}")
