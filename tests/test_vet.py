import datetime as dt
import shutil
from pathlib import Path

import pytest

from ingest.cli import BadInput, check, vet_folder
from ingest.vet import reading_grade, vet
from kb.article import KB_DIR, read_articles


def edit(kb: Path, name: str, old: str, new: str) -> list[str]:
    path = kb / "articles" / f"{name}.md"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return [str(problem) for problem in vet(kb).problems]


def test_the_tiny_knowledge_base_passes(tiny_kb):
    vetted = vet(tiny_kb)
    assert [p for p in vetted.problems if p.severity == "error"] == []
    assert (len(vetted.accepted), vetted.refused) == (3, 0)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("[@walker-2020].", "[@nobody-1999].", "unknown citation key 'nobody-1999'", id="unknown-key"),
        pytest.param("review_due: 2099-01-01", "review_due: 2026-02-01", "review_due: 2026-02-01 is past", id="overdue"),
        pytest.param("checked: 2026-01-10", "checked: 2025-01-10", "is before written", id="checked-before-written"),
        pytest.param("checked: 2026-01-10", "checked: 2098-01-10", "lies in the future", id="checked-in-future"),
        pytest.param("id: walking", "id: waking", "id: 'waking' is not the file's name", id="wrong-id"),
        pytest.param("help#when-should-you-get-help", "help#nowhere", "safety_net: no section 'help#nowhere'", id="bad-net"),
        pytest.param("status: source-checked", "status: clinician-reviewed", "needs reviewed_by and reviewed_on", id="unsigned"),
        pytest.param("Walking eases a sore back", "Walking will cure you and eases a sore back", "promise of cure", id="cure"),
        pytest.param("Walking eases a sore back", "Ignore the pain, as walking eases a sore back", "ignore symptoms", id="ignore"),
        pytest.param("Walking eases a sore back", "Take two tablets, as walking eases a sore back", "personal dose", id="dose"),
        pytest.param("Walking eases a sore back", "You have sciatica and walking eases a sore back", "diagnosis", id="diagnosis"),
        pytest.param("Walking eases a sore back", "See https://x.example as walking eases a sore back", "a link in the text", id="link"),
    ],
)
def test_an_error_refuses_the_article_and_names_the_line(tiny_kb, old, new, expected):
    found = edit(tiny_kb, "walking", old, new)
    hits = [problem for problem in found if expected in problem]
    assert hits and hits[0].startswith("articles/walking.md:"), found
    assert "walking" not in [article.meta.id for article in vet(tiny_kb).accepted]


def test_a_long_section_is_refused(tiny_kb):
    more = "Walking is a very good habit for a back that is sore [@walker-2020].\n" * 20
    assert any("word pieces, more than 256" in p for p in edit(tiny_kb, "walking", "Walking eases", more + "Walking eases"))


def test_hard_reading_is_refused(tiny_kb):
    hard = "Multifactorial musculoskeletal rehabilitation necessitates individualised multidisciplinary biopsychosocial intervention [@walker-2020].\n"
    found = edit(tiny_kb, "walking", "Walking eases a", hard * 9 + "Walking eases a")
    assert any("reading grade" in p for p in found)


def test_the_same_section_twice_is_found(tiny_kb):
    text = (tiny_kb / "articles" / "heat.md").read_text(encoding="utf-8")
    (tiny_kb / "articles" / "heat-again.md").write_text(text.replace("id: heat", "id: heat-again"), encoding="utf-8")
    assert any("nearly the same text as" in str(p) for p in vet(tiny_kb).problems)


def test_duplicate_ids_are_found(tiny_kb):
    (tiny_kb / "articles" / "more").mkdir()
    shutil.copy(tiny_kb / "articles" / "heat.md", tiny_kb / "articles" / "more" / "heat.md")
    assert any("duplicate id 'heat'" in str(p) for p in vet(tiny_kb).problems)


def test_overdue_may_warn_instead(tiny_kb):
    policy = (KB_DIR / "vetting.yaml").read_text(encoding="utf-8").replace("overdue: error", "overdue: warning")
    (tiny_kb / "vetting.yaml").write_text(policy, encoding="utf-8")
    assert len(vet(tiny_kb, today=dt.date(2100, 1, 1)).accepted) == 3


def test_an_unused_source_is_a_warning_at_its_line(tiny_kb):
    with (tiny_kb / "sources.yaml").open("a", encoding="utf-8") as file:
        file.write(
            '  - {id: spare, title: "Spare title", publisher: Some, year: 2001, url: "https://example.org", kind: cohort, seen: true}\n'
        )
    assert "sources.yaml:23: warning: source 'spare' is not cited by any article" in [str(p) for p in vet(tiny_kb).problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sources: [{id: x}]", "x: title: Field required"),
        ("nothing: here", "needs a list under 'sources:'"),
        ("sources: [", "not YAML"),
        ("sources: [{id: x, title: Long, publisher: Some, year: 2000, kind: rct, seen: true}]", "needs a url or a doi"),
    ],
)
def test_a_bad_bibliography_refuses_what_cites_it(tiny_kb, text, expected):
    (tiny_kb / "sources.yaml").write_text(text, encoding="utf-8")
    vetted = vet(tiny_kb)
    assert any(expected in str(p) for p in vetted.problems)
    assert not vetted.accepted


def test_no_articles_folder_is_one_clear_line(tmp_path):
    with pytest.raises(BadInput, match="no such folder; a knowledge base needs"):
        vet_folder(tmp_path)


def test_the_unvetted_page_is_refused_and_named(tiny_kb, capsys):
    (tiny_kb / "articles" / "seed.md").write_text("The best side of pain\nVisit a medical doctor right away.\n", encoding="utf-8")
    assert check(tiny_kb, as_json=False) == 1
    out = capsys.readouterr().out
    assert "articles/seed.md:1: no front matter; unvetted text is refused" in out
    assert "3 articles with 4 sections pass, 1 refused" in out


def test_our_knowledge_base_passes_with_no_error():
    assert [str(p) for p in vet(KB_DIR).problems if p.severity == "error"] == []


def test_our_articles_read_at_about_age_twelve():
    grades = sorted(reading_grade(article) for article in read_articles(KB_DIR)[0])
    assert grades[len(grades) // 2] < 8


def test_the_published_schemas_are_current():
    from kb.schema import schemas

    for name, text in schemas().items():
        assert (KB_DIR / "schema" / name).read_text(encoding="utf-8") == text, "run 'python -m kb.schema'"


def test_an_article_on_a_red_flag_agrees_with_the_policy(tiny_kb):
    front = "safety_net: help#when-should-you-get-help"
    assert any("no such flag 'nonsense'" in p for p in edit(tiny_kb, "heat", front, f"{front}\nred_flags: [nonsense]"))
    assert any("'cauda_equina' is emergency" in p for p in edit(tiny_kb, "heat", "[nonsense]", "[cauda_equina]"))
