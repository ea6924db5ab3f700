"""An ingest with nothing to do does nothing, at once; builds are listed, switched and pruned."""

import datetime as dt
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.open import LiveRetriever
from bot.settings import Settings
from ingest.cli import BadInput, ingest, use_build
from ingest.embed import DEFAULT_MODEL
from ingest.fingerprint import fingerprint
from ingest.index import Index, IndexMissing, Store

pytestmark = pytest.mark.model
SECTION = "heat#does-heat-help-a-sore-back/01"
TODAY = dt.date(2026, 11, 22)


def build(kb: Path, store: Store, **options):
    return ingest(kb, store, model=DEFAULT_MODEL, rebuild=options.get("rebuild", False), reviewed_only=False, quiet=True)


def edit(kb: Path, name: str, old: str, new: str) -> None:
    path = kb / "articles" / f"{name}.md"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


def index_command(store: Store, *args: str):
    return CliRunner().invoke(app, ["index", *args, "--index", str(store.path)])


def test_an_ingest_with_nothing_changed_takes_no_second_and_loads_nothing(tiny_kb, store):
    first, _ = build(tiny_kb, store)
    program = (
        "import sys, json; from pathlib import Path; from ingest.cli import ingest; from ingest.index import Store\n"
        "from ingest.embed import DEFAULT_MODEL\n"
        "report, _ = ingest(Path(sys.argv[1]), Store(Path(sys.argv[2])), model=DEFAULT_MODEL, rebuild=False, reviewed_only=False)\n"
        "print(json.dumps([report.__dict__, sorted({m.partition('.')[0] for m in sys.modules})]))"
    )
    command = [sys.executable, "-c", program, str(tiny_kb), str(store.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parent.parent)
    report, modules = json.loads(done.stdout)
    assert (report["build"], report["unchanged"], report["embedded"]) == (first.build, 4, 0)
    assert report["seconds"] < 1
    assert not {"torch", "onnxruntime", "chromadb", "textstat", "rapidfuzz"} & set(modules)


def test_an_ingest_with_nothing_changed_reports_the_same_refusals(tiny_kb, store, monkeypatch):
    edit(tiny_kb, "walking", "[@walker-2020]", "")
    first, found = build(tiny_kb, store)
    monkeypatch.setattr("ingest.vet.vet", lambda *_, **__: pytest.fail("it was vetted anew"))
    second, again = build(tiny_kb, store)
    assert again == found and any(problem.severity == "error" for problem in found)
    assert (second.refused, second.documents) == (first.refused, first.documents) == (1, 2)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda kb: edit(kb, "heat", "heat", "Heat"), id="one-letter-of-an-article"),
        pytest.param(lambda kb: (kb / "articles" / "walking.md").rename(kb / "articles" / "walk.md"), id="a-file-renamed"),
        pytest.param(lambda kb: (kb / "articles" / "help.md").unlink(), id="an-article-deleted"),
        pytest.param(lambda kb: (kb / "sources.yaml").open("a", encoding="utf-8").write("\n# note\n"), id="the-bibliography"),
        pytest.param(lambda kb: (kb / "vetting.yaml").write_text("x: 1\n", encoding="utf-8"), id="a-vetting-policy-of-its-own"),
        pytest.param(lambda kb: (kb / "articles" / "new.pdf").write_bytes(b"%PDF"), id="a-new-file"),
    ],
)
def test_the_fingerprint_sees_every_change_of_content(tiny_kb, change):
    before = fingerprint(tiny_kb, model="m", reviewed_only=False, today=TODAY)
    assert fingerprint(tiny_kb, model="m", reviewed_only=False, today=TODAY) == before
    change(tiny_kb)
    assert fingerprint(tiny_kb, model="m", reviewed_only=False, today=TODAY) != before


def test_the_fingerprint_sees_settings_the_day_and_the_code(tiny_kb, monkeypatch):
    marks = {
        fingerprint(tiny_kb, model="m", reviewed_only=False, today=TODAY),
        fingerprint(tiny_kb, model="n", reviewed_only=False, today=TODAY),
        fingerprint(tiny_kb, model="m", reviewed_only=True, today=TODAY),
        fingerprint(tiny_kb, model="m", reviewed_only=False, today=TODAY + dt.timedelta(days=1)),
    }
    monkeypatch.setattr("ingest.fingerprint._version", lambda package: f"{package} of tomorrow")
    marks.add(fingerprint(tiny_kb, model="m", reviewed_only=False, today=TODAY))
    assert len(marks) == 5


def test_a_change_of_bytes_but_not_of_words_needs_no_model(tiny_kb, store, monkeypatch):
    first, _ = build(tiny_kb, store)
    monkeypatch.setattr("ingest.cli.open_embedder", lambda *_, **__: pytest.fail("the model was opened"))
    edit(tiny_kb, "heat", "evidence: ", "evidence:  ")
    second, _ = build(tiny_kb, store)
    assert (second.build, second.embedded) == (first.build, 0)


def test_a_torn_memory_only_means_vetting_anew(tiny_kb, store):
    first, _ = build(tiny_kb, store)
    (store.path / "vetted.json").write_text('{"fingerprint": "', encoding="utf-8")
    assert build(tiny_kb, store)[0].build == first.build


def test_the_older_build_is_one_command_away(tiny_kb, store):
    old, _ = build(tiny_kb, store)
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    new, _ = build(tiny_kb, store)
    live = LiveRetriever(Settings(index=store.path))
    assert "brief relief" in live().index.chunks[SECTION].text
    rows = json.loads(index_command(store, "list", "--json").stdout)
    assert [(row["build"], row["live"], row["documents"], row["chunks"]) for row in rows] == [
        (old.build, False, 3, 4),
        (new.build, True, 3, 4),
    ]
    assert index_command(store, "use", old.build).exit_code == 0
    assert "some short relief" in live().index.chunks[SECTION].text, "a running bot has moved back"
    forward, _ = build(tiny_kb, store)
    assert forward.changed == 1 and "brief relief" in live().index.chunks[SECTION].text, "the next ingest goes by the content again"


def test_a_build_that_is_not_there_or_damaged_is_not_made_live(tiny_kb, store):
    old, _ = build(tiny_kb, store)
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    new, _ = build(tiny_kb, store)
    with pytest.raises(BadInput, match="no build 'yesterday'"):
        use_build(store, "yesterday")
    (store.path / "builds" / old.build / "chroma" / "chroma.sqlite3").unlink()
    with pytest.raises(IndexMissing, match="damaged"):
        use_build(store, old.build)
    assert store.current() == new.build


def test_a_build_of_another_version_asks_for_an_ingest(tiny_kb, store):
    report, _ = build(tiny_kb, store)
    path = store.path / "builds" / report.build / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), "format": 0}), encoding="utf-8")
    with pytest.raises(IndexMissing, match="another version of backtalk"):
        Index(store)
    assert build(tiny_kb, store)[0].added == 4


def test_prune_keeps_the_live_build_however_old(tiny_kb, store):
    old, _ = build(tiny_kb, store)
    edit(tiny_kb, "heat", "some short relief", "brief relief")
    new, _ = build(tiny_kb, store)
    index_command(store, "use", old.build)
    (store.path / "builds" / "20200101t000000000000-halfdone").mkdir()
    done = index_command(store, "prune", "--keep", "0")
    assert done.exit_code == 0 and new.build in done.stdout and "halfdone" in done.stdout
    assert [path.name for path in (store.path / "builds").iterdir()] == store.builds() == [old.build]
    assert Index(store).chunks


def test_a_reader_closes_an_index_that_nobody_uses_any_more(tiny_kb, store):
    build(tiny_kb, store)
    live = LiveRetriever(Settings(index=store.path))
    open_files = []
    for n in range(4):
        live().search("heat", top_k=1)
        open_files.append(len(os.listdir("/proc/self/fd")))
        edit(tiny_kb, "help", "Get ", f"Get {n} ")
        build(tiny_kb, store)
        time.sleep(0)
    assert open_files[-1] <= open_files[1] + 2, open_files
