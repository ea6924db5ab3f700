"""Writes a run as JUnit XML, so that any CI shows gates and failed cases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from evals.run import SuiteRun
from evals.summary import GateResult

XML = dict.fromkeys(i for i in range(32) if i not in (9, 10, 13))
"""Control characters, which XML cannot hold."""


def write_junit(path: Path, runs: Sequence[SuiteRun], gates: Mapping[str, Sequence[GateResult]]) -> None:
    """Write one test suite a suite. Its gates are the tests that fail; a failed case is noted as skipped, since gates decide."""
    root = ElementTree.Element("testsuites", name="backtalk eval")
    for run in runs:
        results = gates[run.suite.name]
        failed = [row for row in run.rows if not row.scored.passed]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=run.suite.name,
            tests=str(len(results) + len(run.rows)),
            failures=str(sum(not gate.passed for gate in results)),
            skipped=str(len(failed)),
            time=str(run.seconds),
        )
        for gate in results:
            test = ElementTree.SubElement(suite, "testcase", classname=f"{run.suite.name}.gate", name=gate.text)
            if not gate.passed:
                ElementTree.SubElement(test, "failure", message=gate.line.translate(XML))
        for row in run.rows:
            test = ElementTree.SubElement(suite, "testcase", classname=run.suite.name, name=row.case.id.translate(XML))
            if not row.scored.passed:
                ElementTree.SubElement(test, "skipped", message=f"got {row.scored.got}: {row.scored.why}".translate(XML))
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
