"""Vets a knowledge base: finds everything a publisher would refuse, in one pass.

`kb.article` finds problems of form; this module adds sources, dates, wording, length, reading age and duplicates.
The demands themselves are data, in `vetting.yaml`.
"""

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import textstat
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from rapidfuzz import fuzz, process

from kb.article import KB_DIR, Article, Problem, read_articles
from kb.imported import read_imported
from kb.red_flags import read_policy as read_policy_of_flags
from kb.sources import Source, read_sources

# An article on a red flag must send people where the policy does, or higher.
ACTION_WORDS = {
    "none": ("",),
    "see_doctor": ("doctor", "gp", "appointment", "emergency", "same day"),
    "urgent": ("same day", "today", "emergency"),
    "emergency": ("emergency", "ambulance"),
}


class Forbidden(BaseModel):
    """A wording that content must not have, unless the same sentence matches `allow`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    pattern: re.Pattern[str]
    allow: re.Pattern[str] | None = None


class Policy(BaseModel):
    """`vetting.yaml`, read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    section_words: tuple[int, int]
    section_tokens: int
    reading_grade: dict[Literal["warn", "error"], float]
    near_duplicate: float
    overdue: Literal["error", "warning"]
    forbidden: list[Forbidden]


@dataclass(frozen=True)
class Vetted:
    """What vetting lets through, and what it found. `accepted` are the articles without an error."""

    accepted: list[Article]
    refused: int
    sources: dict[str, Source]
    problems: list[Problem]


def read_policy(kb: Path) -> Policy:
    """Read `vetting.yaml` of the knowledge base, or the product's own where it has none.

    Raises:
        ValueError: the file is not a valid policy; the message names the file and the field.
    """
    path = kb / "vetting.yaml"
    if not path.is_file():
        path = KB_DIR / "vetting.yaml"
    try:
        return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, OSError) as error:
        detail = error.errors()[0]["loc"] if isinstance(error, ValidationError) else str(error).splitlines()[0]
        raise ValueError(f"{path}: not a valid vetting policy: {detail}") from error


def vet(kb: Path, *, today: dt.date | None = None) -> Vetted:
    """Vet the knowledge base in `kb`.

    An article with any error is refused, as is everything when the bibliography cannot be read.

    Raises:
        FileNotFoundError: there is no `articles` folder.
        ValueError: the vetting policy is not valid.
    """
    today = today or dt.datetime.now(dt.UTC).date()
    policy = read_policy(kb)
    articles, problems = read_articles(kb)
    imported, import_problems = read_imported(kb)
    articles, problems = articles + imported, problems + import_problems
    unread = len({problem.file for problem in problems} - {article.file for article in articles})
    sources, source_lines, source_problems = read_sources(kb)
    problems = source_problems + problems
    for article in articles:
        problems += _vet_article(article, sources, policy, today)
    problems += _duplicate_ids(articles) + _near_duplicates(articles, policy) + _safety_nets(articles)
    used = {key for article in articles for section in article.sections for s in section.sentences for key in s.sources}
    for key in sources.keys() - used:
        problems.append(Problem("sources.yaml", source_lines[key], f"source {key!r} is not cited by any article", "warning"))
    refused = {problem.file for problem in problems if problem.severity == "error"}
    accepted = [article for article in articles if article.file not in refused]
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.message))
    return Vetted(accepted, len(articles) - len(accepted) + unread, sources, problems)


def _vet_article(article: Article, sources: dict[str, Source], policy: Policy, today: dt.date) -> list[Problem]:
    problems: list[Problem] = []

    def add(line: int, message: str, severity: Literal["error", "warning"] = "error") -> None:
        problems.append(Problem(article.file, line, message, severity))

    meta, at = article.meta, article.meta_lines
    if Path(article.file).stem != meta.id:
        add(at["id"], f"id: {meta.id!r} is not the file's name")
    if meta.checked < meta.written:
        add(at["checked"], f"checked: {meta.checked} is before written: {meta.written}")
    if meta.review_due <= meta.checked:
        add(at["review_due"], f"review_due: {meta.review_due} is not after checked: {meta.checked}")
    if meta.checked > today:
        add(at["checked"], f"checked: {meta.checked} lies in the future")
    if meta.review_due < today:
        add(at["review_due"], f"review_due: {meta.review_due} is past; check the article against its sources", policy.overdue)
    if meta.status == "clinician-reviewed" and not (meta.reviewed_by and meta.reviewed_on):
        add(at["status"], "status: 'clinician-reviewed' needs reviewed_by and reviewed_on of a real person")
    whole = " ".join(sentence.text for section in article.sections for sentence in section.sentences).lower()
    for code in meta.red_flags:
        flag = read_policy_of_flags().flags.get(code)  # type: ignore[call-overload]
        if flag is None:
            add(at["red_flags"], f"red_flags: no such flag {code!r} in red_flags.yaml")
        elif not any(word in whole for word in ACTION_WORDS[flag.level]):
            add(
                at["red_flags"],
                f"red_flags: {code!r} is {flag.level} in red_flags.yaml, but the text never says {ACTION_WORDS[flag.level][0]!r}",
            )
    low, high = policy.section_words
    for section in article.sections:
        words = len(section.text.split())
        if words > high:
            add(section.line, f"section {section.heading!r} has {words} words, more than {high}; split it")
        elif words < low:
            add(section.line, f"section {section.heading!r} has {words} words, fewer than {low}; does it stand on its own?", "warning")
        tokens = count_tokens(f"{meta.title}. {section.heading}\n{section.text}")
        if tokens > policy.section_tokens:
            add(section.line, f"section {section.heading!r} has {tokens} word pieces, more than {policy.section_tokens}; split it")
        if not section.questions:
            add(section.line, f"questions: none for section {section.anchor!r}", "warning")
        for sentence in section.sentences:
            for key in sentence.sources:
                if key not in sources:
                    add(sentence.line, f"unknown citation key {key!r}")
            for rule in policy.forbidden:
                lowered = sentence.text.lower().replace("’", "'")
                if rule.pattern.search(lowered) and not (rule.allow and rule.allow.search(lowered)):
                    add(sentence.line, f"{rule.code}: {sentence.text[:80]!r}")
            if "http" in sentence.text or "](" in sentence.text:
                add(sentence.line, "a link in the text; describe the source in sources.yaml and cite it instead")
    grade = reading_grade(article)
    if grade > policy.reading_grade["error"]:
        add(1, f"reading grade {grade:.1f} is above {policy.reading_grade['error']}; use shorter sentences and plainer words")
    elif grade > policy.reading_grade["warn"]:
        add(1, f"reading grade {grade:.1f} is above {policy.reading_grade['warn']}", "warning")
    return problems


def reading_grade(article: Article) -> float:
    """Return the Flesch-Kincaid US school grade of the article's text; add 5 for the reading age in years."""
    text = "\n".join(
        sentence.text.rstrip(":") + "." if sentence.is_lead else sentence.text for s in article.sections for sentence in s.sentences
    )
    return float(textstat.flesch_kincaid_grade(text)) if text else 0.0


def count_tokens(text: str) -> int:
    """Return how many word pieces the embedding model reads in `text`, its two marks at the ends included."""
    from ingest.embed import tokenizer

    return len(tokenizer().encode(text).ids)


def _duplicate_ids(articles: list[Article]) -> list[Problem]:
    first: dict[str, str] = {}
    problems = []
    for article in articles:
        other = first.setdefault(article.meta.id, article.file)
        if other != article.file:
            problems.append(Problem(article.file, article.meta_lines["id"], f"duplicate id {article.meta.id!r}, also in {other}"))
    return problems


def _near_duplicates(articles: list[Article], policy: Policy) -> list[Problem]:
    sections = [(article, section) for article in articles for section in article.sections]
    # The token sort ratio, with each text's words sorted once and not anew for every pair.
    texts = [" ".join(sorted(section.text.split())) for _, section in sections]
    if not texts:
        return []
    scores = process.cdist(texts, texts, scorer=fuzz.ratio, score_cutoff=policy.near_duplicate, workers=-1)
    problems = []
    for i, (article, section) in enumerate(sections):
        for j in range(i):
            if scores[i][j] >= policy.near_duplicate:
                other, twin = sections[j]
                problems.append(Problem(article.file, section.line, f"nearly the same text as {other.meta.id}#{twin.anchor}"))
    return problems


def _safety_nets(articles: list[Article]) -> list[Problem]:
    anchors = {f"{article.meta.id}#{section.anchor}" for article in articles for section in article.sections}
    return [
        Problem(article.file, article.meta_lines["safety_net"], f"safety_net: no section {article.meta.safety_net!r}")
        for article in articles
        if article.meta.safety_net not in anchors
    ]
