"""One `backtalk eval` from start to end: measure the suites, hold them to their gates and baselines, write everything down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bot.settings import Settings
from evals.baseline import check_baseline, read_baseline, saved_baseline
from evals.judge import Judge
from evals.junit import write_junit
from evals.progress import Tick
from evals.report import write_report
from evals.results_page import write_results_page
from evals.run import Run, SuiteRun, new_folder
from evals.suite import Suite
from evals.summary import GateResult, gates_of, metrics_of, summarise
from evals.target import Target


@dataclass(frozen=True)
class Evaluated:
    """A finished run: where it is, its summary, and one line for each gate that failed."""

    folder: Path
    summary: dict[str, Any]
    failures: list[str]


def evaluate(
    suites: Sequence[Suite],
    settings: Settings,
    *,
    folder: Path | None = None,
    own_data: bool = False,
    baseline: Path | None = None,
    limit: int | None = None,
    jobs: int = 1,
    tick: Tick | None = None,
    rescore: bool = False,
    target: Target | None = None,
    rival: str | None = None,
    baselines: bool = False,
    judge: Judge | None = None,
) -> Evaluated:
    """Run suites and write results, summary, report and JUnit file.

    Args:
        suites: what to run.
        settings: of the bot.
        folder: of the run; a new one under `evals/runs` if None.
        own_data: the data are not the suites' own, so that their saved baselines say nothing about them.
        baseline: file to compare with instead of the saved baseline.
        limit: only so many cases of each suite; baselines are then left out.
        jobs: cases at a time.
        tick: told of progress.
        rescore: only score again what the finished run in `folder` observed.
        target: a system to ask over HTTP in place of the bot.
        rival: name of a built-in baseline to measure in place of the bot.
        baselines: also measure the baselines that must first learn or index something.
        judge: a language model that also decides which key facts an answer states.

    Raises:
        BadInput: data, baseline or folder cannot be used.
        BadIndex: there is no index and none can be built.
    """
    saved = {suite.name: baseline or (None if own_data or limit or target or rival else saved_baseline(suite.name)) for suite in suites}
    blessed = {name: read_baseline(path) for name, path in saved.items() if path}
    run = Run(folder or new_folder(), settings, rescore=rescore, target=target, rival=rival, baselines=baselines)
    done: list[SuiteRun] = []
    gates: dict[str, list[GateResult]] = {}
    parts = []
    for suite in suites:
        measured = run.rescore(suite) if rescore else run.measure(suite, limit=limit, jobs=jobs, tick=tick)
        if measured.measure.trust:
            measured.trust.append(measured.measure.trust())
        if judge and measured.suite.kind == "answers":
            judge.add_scores(measured, tick=tick)
        metrics = metrics_of(measured)
        results = gates_of(measured, metrics)
        if suite.name in blessed:
            results += [GateResult(line, False, line) for line in check_baseline(measured, blessed[suite.name])]
        done.append(measured)
        gates[suite.name] = results
        parts.append(summarise(measured, metrics, [gate.line for gate in results if not gate.passed]))
    # Again, since the index may have been built on the way.
    if not rescore:
        run.config = run.describe()
    summary = {"suites": parts, "config": run.config, "folder": str(run.folder)}
    run.finish(done, summary)
    write_junit(run.folder / "junit.xml", done, gates)
    write_results_page(run.folder / "results.md", summary)
    write_report(run.folder / "report.html", done, gates, summary)
    return Evaluated(run.folder, summary, [gate.line for results in gates.values() for gate in results if not gate.passed])
