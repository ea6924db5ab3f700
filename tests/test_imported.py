from pathlib import Path

import pytest

from ingest.vet import vet

SIDECAR = """id: leaflet
title: A leaflet on sitting
topic: work
audience: [workers]
evidence: limited
questions: {}
safety_net: help#when-should-you-get-help
written: 2026-01-10
checked: 2026-01-10
review_due: 2099-01-01
status: source-checked
cite: [help-page, walker-2020]
"""
HEADING = "Is sitting bad for a sore back?"
SENTENCES = [
    "Sitting is not harmful for most backs.",
    "A sore back often feels stiff after a long time in one chair.",
    "Stand up and walk a few steps every half hour or so.",
    "A chair that you can change in height is easier on many people.",
    "Nobody has shown that one chair is the best for everyone.",
]


def make(kb: Path, kind: str) -> None:
    path = kb / "articles" / f"leaflet.{kind}"
    body = " ".join(SENTENCES)
    if kind == "md":
        path.write_text(f"# Leaflet\n\n### {HEADING}\n\n{body}\n", encoding="utf-8")
    elif kind == "html":
        page = f"<html><head><style>p{{}}</style></head><body><nav>Home</nav><h1>Leaflet</h1><h2>{HEADING}</h2><p>{body}</p></body></html>"
        path.write_text(page, encoding="utf-8")
    elif kind == "docx":
        from docx import Document

        document = Document()
        document.add_heading(HEADING, level=2)
        document.add_paragraph(body)
        document.save(str(path))
    else:
        from fpdf import FPDF

        pdf = FPDF()
        pdf.add_page()
        pdf.set_font("Helvetica", size=12)
        pdf.multi_cell(0, 8, HEADING)
        pdf.ln(12)
        pdf.multi_cell(0, 8, body)
        pdf.output(str(path))


@pytest.mark.parametrize("kind", ["md", "html", "docx", "pdf"])
def test_a_file_with_a_sidecar_is_vetted_like_any_article(tiny_kb, kind):
    make(tiny_kb, kind)
    (tiny_kb / "articles" / "leaflet.meta.yaml").write_text(SIDECAR, encoding="utf-8")
    vetted = vet(tiny_kb)
    assert [str(p) for p in vetted.problems if p.severity == "error"] == []
    article = next(article for article in vetted.accepted if article.meta.id == "leaflet")
    assert [section.heading for section in article.sections] == [HEADING]
    assert [sentence.text for sentence in article.sections[0].sentences] == SENTENCES
    assert article.sections[0].sentences[0].sources == ("help-page", "walker-2020")


def test_a_file_without_a_sidecar_is_refused(tiny_kb):
    make(tiny_kb, "html")
    assert any("articles/leaflet.html:1: no leaflet.meta.yaml beside it" in str(p) for p in vet(tiny_kb).problems)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("cite: [help-page, walker-2020]\n", "", "cite: needs a list of source ids"),
        ("help-page, ", "no-such-source, ", "unknown citation key 'no-such-source'"),
        ("evidence: limited\n", "", "evidence: Field required"),
    ],
)
def test_a_bad_sidecar_is_named(tiny_kb, old, new, expected):
    make(tiny_kb, "html")
    (tiny_kb / "articles" / "leaflet.meta.yaml").write_text(SIDECAR.replace(old, new), encoding="utf-8")
    assert any(expected in str(p) for p in vet(tiny_kb).problems)


def test_a_file_that_is_not_what_it_says_is_one_line(tiny_kb):
    (tiny_kb / "articles" / "leaflet.pdf").write_bytes(b"no pdf at all")
    (tiny_kb / "articles" / "leaflet.meta.yaml").write_text(SIDECAR, encoding="utf-8")
    assert any("articles/leaflet.pdf:1: cannot be brought in: not a readable PDF file" in str(p) for p in vet(tiny_kb).problems)
