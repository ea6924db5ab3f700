"""Writes a run as a page of Markdown that a README can link: the bot beside every baseline, on the same cases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.catalog import METRICS
from evals.table import interval, number, trust_line


def write_results_page(path: Path, summary: Mapping[str, Any]) -> None:
    """Write one table a suite."""
    config = summary["config"]
    what = config.get("target") or "this bot"
    head = [
        "# Results",
        "",
        "<!-- Written by `make eval`; do not edit. -->",
        "",
        f"What was measured: {what}, commit {config['commit'] or 'unknown'}, index {config['index'] or 'none'}, "
        f"embedding {config['embedding_model']}, chat model {config['llm'] or 'none'}, guardrail model {config['guardrail_model']}.",
        "Brackets are 95% intervals (exact for shares, bootstrap for means). All columns saw the same cases; – is not measured. "
        "What each metric means stands in evals/README.md, where the data come from in the cards beside them.",
    ]
    path.write_text("\n".join([*head, *(line for part in summary["suites"] for line in _part(part))]) + "\n", encoding="utf-8")


def _part(part: Mapping[str, Any]) -> list[str]:
    verdict = "every gate held" if part["passed"] else f"{len(part['failed_gates'])} gates failed"
    columns = ["metric", "better", "bot", *part["rivals"]]
    lines = ["", f"## {part['suite']}", "", f"{part['n']} cases, {part['seconds']:.0f} s, {verdict}.", ""]
    lines += [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for name, value in part["metrics"].items():
        if not value["n"]:
            continue
        own = f"{number(value['value'], name)} ({interval(value, name)})" if value["low"] is not None else number(value["value"], name)
        rivals = [number(rows.get(name, {}).get("value"), name) for rows in part["rivals"].values()]
        better = {"high": "higher", "low": "lower", "neither": ""}[METRICS[name].better]
        lines.append(f"| {' | '.join([name, better, own, *rivals])} |")
    return lines + [line for agreement in part["trust"] for line in ("", trust_line(agreement))]
