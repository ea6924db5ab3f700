"""Runs suites: observes each case once, keeps every observation as soon as it is made, scores them all, and sums up.

A run is a folder. What was observed before an interruption is taken over when the same run is started again, as long as the bot, its
content and its models are still the same; scoring is always done anew, so a changed score needs no new observation.
"""

import datetime as dt
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bot.settings import Settings
from evals.case import Case
from evals.kinds import MEASURES
from evals.measure import Agreement, Measure, Observe, Observed, Opened, Scored
from evals.progress import Tick
from evals.suite import Suite
from evals.target import Target
from ingest.chunk import digest
from ingest.cli import BadInput
from ingest.index import IndexMissing, Store
from kb.article import KB_DIR

RUNS = Path(__file__).parent / "runs"
ROOT = KB_DIR.parent
JUDGED = "judged_fact_recall"


@dataclass(frozen=True)
class Row:
    """One case of a finished suite."""

    key: str
    case: Case
    observed: Observed
    scored: Scored


@dataclass
class SuiteRun:
    """A finished suite: its rows in the order of the data, and the scores of its rivals on the same cases."""

    suite: Suite
    rows: list[Row]
    rivals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    seconds: float = 0.0
    data_digest: str = ""
    trust: list[Agreement] = field(default_factory=list)
    judged: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """Its metrics by name; a judge adds one."""
        return (*self.measure.metrics, *((JUDGED,) if self.judged else ()))

    @property
    def measure(self) -> Measure:
        """The kind of suite that it is."""
        return MEASURES[self.suite.kind]


class Run:
    """The folder of a run and the observations in it."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        rescore: bool = False,
        target: Target | None = None,
        rival: str | None = None,
        baselines: bool = False,
    ) -> None:
        """Open or begin a run in `folder`; an unfinished run of the same bot there is taken up, a finished one only to be rescored.

        Raises:
            BadInput: the folder cannot be written.
        """
        self.folder = folder
        self.settings = settings
        self.known: dict[str, Observed] = {}
        self.beside: dict[tuple[str, str], Observed] = {}
        self.target = target
        self.rival = rival
        self.baselines = baselines
        self.config = self.describe()
        path = folder / "run.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            old = _read_json(path)
            if rescore:
                read_results(folder)
                # What was observed was observed of the bot as it was then.
                self.config = old["config"]
                return
            if old.get("config") == self.config and not old.get("finished"):
                self.known = {line["key"]: line["observed"] for line in _read_jsonl(self.results)}
            else:
                self.results.unlink(missing_ok=True)
            self._write_run(finished=None)
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written: {error.strerror}") from error

    @property
    def results(self) -> Path:
        """The file of cases: appended to as they are observed, rewritten in order with their scores at the end."""
        return self.folder / "results.jsonl"

    def measure(self, suite: Suite, *, limit: int | None = None, jobs: int = 1, tick: Tick | None = None) -> SuiteRun:
        """Run one suite.

        Raises:
            BadInput: its data cannot be used.
            BadIndex: there is no index and none can be built, or it does not fit.
        """
        started = time.perf_counter()
        measure = MEASURES[suite.kind]
        cases = measure.read(suite)[:limit]
        opened = self.target.open(measure) if self.target else measure.open(self.settings, suite, tick)
        if self.rival is not None:
            opened = _rival_alone(opened, self.rival, suite)
        keys = [digest(json.dumps([measure.observer, opened.identity, case.id, case.given], sort_keys=True)) for case in cases]
        observed = self._observe(suite, opened, cases, keys, jobs=jobs if measure.parallel else 1, tick=tick)
        scored = score_all(measure, cases, observed)
        rows = [Row(*parts) for parts in zip(keys, cases, observed, scored, strict=True)]
        others: dict[str, Callable[[], Observe]] = {name: partial(_same, observe) for name, observe in opened.rivals.items()}
        others |= opened.baselines if self.baselines else {}
        rivals = {}
        for name, begin in others.items():
            beside = self._observe_rival(name, begin, cases, keys, tick=tick)
            rivals[name] = [row.scores for row in score_all(measure, cases, beside)]
        return SuiteRun(suite, rows, rivals, round(time.perf_counter() - started, 2), _data_digest(cases))

    def describe(self) -> dict[str, Any]:
        """Return what decides the results of this run."""
        return describe(self.settings) | {"target": self.target.name if self.target else self.rival or ""}

    def rescore(self, suite: Suite) -> SuiteRun:
        """Score again what a finished run observed; the bot is not opened, so there are no rivals.

        Raises:
            BadInput: the run does not hold a case, or held other words for it.
        """
        measure = MEASURES[suite.kind]
        cases = measure.read(suite)
        lines = read_results(self.folder).get(suite.name, {})
        strange = next((case.id for case in cases if lines.get(case.id, {}).get("given") != case.given), None)
        if strange is not None:
            raise BadInput(
                f"{self.folder}: did not observe case {strange!r} of suite {suite.name!r} as it is now; run it without --rescore"
            )
        observed = [lines[case.id]["observed"] for case in cases]
        keys = [lines[case.id]["key"] for case in cases]
        rows = [Row(*parts) for parts in zip(keys, cases, observed, score_all(measure, cases, observed), strict=True)]
        return SuiteRun(suite, rows, data_digest=_data_digest(cases))

    def _observe(self, suite: Suite, opened: Opened, cases: list[Case], keys: list[str], *, jobs: int, tick: Tick | None) -> list[Observed]:
        todo = [(key, case) for key, case in zip(keys, cases, strict=True) if key not in self.known]
        done = len(cases) - len(todo)
        # Threads, since the models leave Python's lock while they compute.
        with self.results.open("a", encoding="utf-8") as out, ThreadPoolExecutor(jobs) as pool:
            futures = {pool.submit(opened.observe, case): (key, case) for key, case in todo}
            try:
                for future in as_completed(futures):
                    key, case = futures[future]
                    self.known[key] = future.result()
                    line = {"key": key, "suite": suite.name, "id": case.id, "observed": self.known[key]}
                    out.write(json.dumps(line, ensure_ascii=False) + "\n")
                    out.flush()
                    done += 1
                    if tick:
                        tick(suite.name, done, len(cases))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [self.known[key] for key in keys]

    def _observe_rival(
        self, name: str, begin: Callable[[], Observe], cases: list[Case], keys: list[str], *, tick: Tick | None
    ) -> list[Observed]:
        """Observe a rival; suites over the same cases share what was observed, as they do of the bot."""
        todo = {key: case for key, case in zip(keys, cases, strict=True) if (name, key) not in self.beside}
        if todo:
            observe = begin()
            for done, (key, case) in enumerate(todo.items(), start=1):
                self.beside[name, key] = observe(case)
                if tick:
                    tick(name, done, len(todo))
        return [self.beside[name, key] for key in keys]

    def finish(self, runs: Sequence[SuiteRun], summary: dict[str, Any]) -> None:
        """Write the results in order, the summary, and that the run is done."""
        lines = (result_line(run, row) for run in runs for row in run.rows)
        write_whole(self.results, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        write_whole(self.folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False))
        self._write_run(finished=_now())

    def _write_run(self, *, finished: str | None) -> None:
        content = {"config": self.config, "started": _now(), "finished": finished}
        if finished:
            content["started"] = _read_json(self.folder / "run.json").get("started", finished)
        write_whole(self.folder / "run.json", json.dumps(content, indent=1))


def _same(observe: Observe) -> Observe:
    return observe


def _rival_alone(opened: Opened, rival: str, suite: Suite) -> Opened:
    """Return a built-in baseline in the bot's place."""
    known = [*opened.rivals, *opened.baselines]
    if rival not in known:
        raise BadInput(
            f"--target: {rival!r} is neither an address nor a built-in baseline of suite {suite.name!r}; those are {', '.join(map(repr, known))}"
        )
    observe = opened.rivals[rival] if rival in opened.rivals else opened.baselines[rival]()
    return Opened(observe, {}, f"{opened.identity} {rival}")


def result_line(run: SuiteRun, row: Row) -> dict[str, Any]:
    """Return what `results.jsonl` keeps of a case."""
    return {
        "key": row.key,
        "suite": run.suite.name,
        "id": row.case.id,
        "passed": row.scored.passed,
        "given": row.case.given,
        "expected": row.case.expected,
        "got": row.scored.got,
        "why": row.scored.why,
        "scores": row.scored.scores,
        "tags": row.case.tags,
        "observed": row.observed,
    }


def score_all(measure: Measure, cases: list[Case], observed: Iterable[Observed]) -> list[Scored]:
    """Score observations, one a case."""
    scored = [measure.score(case, seen) for case, seen in zip(cases, observed, strict=True)]
    return measure.finish(cases, scored) if measure.finish else scored


def _data_digest(cases: list[Case]) -> str:
    return digest(json.dumps([[case.id, case.given, case.expected] for case in cases], sort_keys=True))


def new_folder() -> Path:
    """Return a fresh folder for a run, named for the time: beside the code in a clone, else under the working directory."""
    runs = RUNS if (ROOT / "pyproject.toml").is_file() else Path("backtalk-runs")
    stamp = f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"
    return next(path for n in range(1000) if not (path := runs / (f"{stamp}-{n}" if n else stamp)).exists())


def describe(settings: Settings) -> dict[str, Any]:
    """Return what decides the results: commit, code, content, index and models."""
    store = Store(settings.index, url=settings.chroma_url)
    try:
        index = store.manifest(store.current() or "none").fingerprint
    except IndexMissing:
        index = ""
    return {
        "commit": _commit(),
        "code": _digest_files(["bot", "ingest", "kb"], (".py", ".yaml", ".md", ".onnx")),
        "index": index,
        "embedding_model": settings.embedding_model,
        "llm": settings.llm,
        "region": settings.region,
        "guardrail_model": _digest_files(["bot/guardrail"], (".onnx",)),
    }


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _digest_files(folders: list[str], endings: tuple[str, ...]) -> str:
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in endings and path.is_file()]
    return digest("\n".join(f"{path.relative_to(ROOT)} {digest(path.read_bytes().hex())}" for path in paths))


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def read_results(folder: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Read the results of a finished run: suite to case id to its line.

    Raises:
        BadInput: there is no finished run in the folder.
    """
    out: dict[str, dict[str, dict[str, Any]]] = {}
    try:
        if not json.loads((folder / "run.json").read_text(encoding="utf-8"))["finished"]:
            raise BadInput(f"{folder}: this run was not finished; start it again with --out {folder}")
        for line in (folder / "results.jsonl").read_text(encoding="utf-8").split("\n"):
            if line:
                row = json.loads(line)
                out.setdefault(row["suite"], {})[row["id"]] = row
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder}: no readable run here") from error
    return out


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read the lines of an unfinished run; the last one may be cut off."""
    lines = []
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if "key" in data:
            lines.append(data)
    return lines
