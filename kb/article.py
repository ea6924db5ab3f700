"""Reads articles: Markdown with front matter, in which each sentence names the sources that say it.

Owns the format and its line-exact errors. What a publisher demands on top (dates, reading age, wording) is `ingest.vet`.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from pydantic import BaseModel, ConfigDict, Field, ValidationError

KB_DIR = Path(__file__).parent
# The C parser is ten times faster; a PyYAML without it reads the same.
SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Topic = Literal[
    "basics",
    "causes",
    "running",
    "self-care",
    "exercise",
    "medicines",
    "therapies",
    "imaging",
    "conditions",
    "special-groups",
    "mind-sleep",
    "work",
    "prognosis",
    "prevention",
    "professionals",
    "red-flags",
    "living-with-pain",
    "myths",
]
Audience = Literal["general", "runners", "older-adults", "young-people", "pregnancy", "workers", "carers"]
Evidence = Literal["strong", "moderate", "limited", "mixed"]
Status = Literal["source-checked", "clinician-reviewed"]

CITATION = re.compile(r"\s*\[(@[^\]]*)\]")
CITED_SENTENCE = re.compile(r"(?P<text>.+?)\s*\[(?P<keys>@[^\]]*)\](?P<end>[.!?:;]?)(?:\s+|$)", re.DOTALL)
KEY = re.compile(r"@([a-z0-9][a-z0-9-]*)")
# A full stop, then a capital: a second sentence hides in front of one citation. Abbreviations and initials are let through.
INNER_BOUNDARY = re.compile(r"(?<!\b[A-Z])(?<!e\.g)(?<!i\.e)(?<!vs)(?<!Dr)(?<!St)[.!?]\s+(?=[A-Z])")


@dataclass(frozen=True)
class Problem:
    """One finding of the reader or of vetting, placed so that an editor can jump to it."""

    file: str
    line: int
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        """Return `file:line: problem`."""
        mark = "warning: " if self.severity == "warning" else ""
        return f"{self.file}:{self.line}: {mark}{self.message}"


class FrontMatter(BaseModel):
    """What stands between the `---` lines of an article. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="Stable id; the same as the file name without its ending.")
    title: str = Field(min_length=4, max_length=90, description="What a patient would call it.")
    topic: Topic = Field(description="The group that it belongs to.")
    audience: list[Audience] = Field(min_length=1, description="Who it is for; 'general' means everyone.")
    evidence: Evidence = Field(description="How sure the main message is.")
    questions: dict[str, list[str]] = Field(
        description="Per section (its anchor), the questions it answers as people type them; they are indexed."
    )
    safety_net: str = Field(
        pattern=r"^[a-z0-9-]+#[a-z0-9-]+$",
        description="article#section whose first sentence says when to get help; shown under answers from this article.",
    )
    red_flags: list[str] = Field(default_factory=list, description="Codes of kb/red_flags.yaml that the article explains.")
    written: dt.date = Field(description="First written.")
    checked: dt.date = Field(description="Last checked against its sources.")
    review_due: dt.date = Field(description="Not to be served as current after this day.")
    status: Status = Field(description="'clinician-reviewed' needs reviewed_by and reviewed_on of a real person.")
    reviewed_by: str | None = Field(default=None, min_length=4, description="Name and profession of the reviewer.")
    reviewed_on: dt.date | None = Field(default=None, description="Day of that review.")


@dataclass(frozen=True)
class Sentence:
    """One claim: its words without marks, and the ids of the sources that support it."""

    text: str
    sources: tuple[str, ...]
    line: int
    is_item: bool = False
    is_lead: bool = False


@dataclass(frozen=True)
class Section:
    """One question and its answer. `anchor` is unique within the article."""

    anchor: str
    heading: str
    line: int
    sentences: tuple[Sentence, ...]
    questions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The section's words, one list item a line; every sentence stands in it verbatim."""
        return join_sentences(self.sentences)


@dataclass(frozen=True)
class Article:
    """A whole article as read; `file` is relative to the knowledge base."""

    file: str
    meta: FrontMatter
    meta_lines: dict[str, int]
    sections: tuple[Section, ...]


def join_sentences(sentences: Sequence[Sentence]) -> str:
    """Join sentences into readable text: prose runs on, each list item has its own line starting with `- `."""
    parts: list[str] = []
    previous_item = False
    for sentence in sentences:
        if sentence.is_item:
            parts.append(f"\n- {sentence.text}")
        else:
            parts.append(("\n" if previous_item else " " if parts else "") + sentence.text)
        previous_item = sentence.is_item
    return "".join(parts)


def slugify(heading: str) -> str:
    """Return the anchor of a heading: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", heading.lower().replace("'", "").replace("’", "")).strip("-")


def read_articles(kb: Path) -> tuple[list[Article], list[Problem]]:
    """Read every article below `kb/articles`, in the order of their names.

    A file that cannot be read as an article is left out and its problems are returned; the others are still read.

    Raises:
        FileNotFoundError: there is no `articles` folder.
    """
    folder = kb / "articles"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; a knowledge base needs articles/ and sources.yaml")
    articles: list[Article] = []
    problems: list[Problem] = []
    for path in sorted(folder.rglob("*.md")):
        if path.with_name(f"{path.stem}.meta.yaml").is_file():
            continue  # brought in by its sidecar: kb.imported
        name = str(path.relative_to(kb))
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(name, 1, f"cannot be read: {error}"))
            continue
        article, found = parse_article(name, text)
        problems += found
        if article:
            articles.append(article)
    return articles, problems


def parse_article(file: str, text: str) -> tuple[Article | None, list[Problem]]:
    """Parse one article. Problems are findings of form: front matter, uncited claims, malformed citations."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in [line.strip() for line in lines[1:]]:
        missing = ", ".join(name for name, field in FrontMatter.model_fields.items() if field.is_required())
        return None, [
            Problem(file, 1, f"no front matter; unvetted text is refused. Needed between two '---' lines: {missing}"),
            *_uncited_summary(file, lines),
        ]
    end = next(i for i, line in enumerate(lines[1:], start=1) if line.strip() == "---")
    meta, meta_lines, problems = _parse_front_matter(file, "\n".join(lines[1:end]))
    if meta is None:
        return None, problems
    sections, body_problems = _parse_body(file, "\n".join(lines[end + 1 :]), first_line=end + 2, meta=meta)
    return Article(file, meta, meta_lines, tuple(sections)), problems + body_problems


def _uncited_summary(file: str, lines: list[str]) -> list[Problem]:
    uncited = [n for n, line in enumerate(lines, start=1) if line.strip() and not CITATION.search(line)]
    if not uncited:
        return []
    return [Problem(file, uncited[0], f"no source is cited on {len(uncited)} of its lines")]


def _parse_front_matter(file: str, text: str) -> tuple[FrontMatter | None, dict[str, int], list[Problem]]:
    try:
        node = yaml.compose(text, Loader=SAFE_LOADER)
        data = yaml.load(text, Loader=SAFE_LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return None, {}, [Problem(file, (mark.line if mark else 0) + 2, f"front matter is not YAML: {str(error).splitlines()[0]}")]
    if not isinstance(node, yaml.MappingNode):
        return None, {}, [Problem(file, 2, "front matter is not a list of 'key: value' lines")]
    key_lines = {str(key.value): key.start_mark.line + 2 for key, _ in node.value}
    try:
        return FrontMatter.model_validate(data), key_lines, []
    except ValidationError as error:
        problems = []
        for detail in error.errors(include_url=False):
            field = ".".join(str(part) for part in detail["loc"])
            value = "" if detail["type"] == "missing" else f": {detail['input']!r}"
            problems.append(Problem(file, key_lines.get(str(detail["loc"][0]), 2), f"{field}: {detail['msg']}{value}"))
        return None, key_lines, problems


def _parse_body(file: str, text: str, *, first_line: int, meta: FrontMatter) -> tuple[list[Section], list[Problem]]:
    problems: list[Problem] = []
    sections: list[Section] = []
    heading: tuple[str, int] | None = None
    sentences: list[Sentence] = []

    def close() -> None:
        if heading is None:
            return
        anchor = slugify(heading[0])
        if not sentences:
            problems.append(Problem(file, heading[1], f"section {heading[0]!r} is empty"))
            return
        if any(section.anchor == anchor for section in sections):
            problems.append(Problem(file, heading[1], f"duplicate section {anchor!r}"))
            return
        sections.append(Section(anchor, heading[0], heading[1], tuple(sentences), tuple(meta.questions.get(anchor, ()))))

    for kind, content, line in _blocks(MarkdownIt("commonmark").parse(text), first_line):
        if kind == "heading":
            close()
            heading, sentences = (content, line), []
        elif kind == "other":
            problems.append(Problem(file, line, f"{content} is not allowed; use '##' headings, paragraphs and plain lists"))
        elif heading is None:
            problems.append(Problem(file, line, "text stands before the first '##' heading"))
        else:
            found, trouble = _sentences(file, content, line, is_item=kind == "item")
            sentences += found
            problems += trouble
    close()
    if not sections:
        problems.append(Problem(file, first_line, "no sections; write at least one '## Question' with its answer"))
    anchors = {section.anchor for section in sections}
    for anchor in meta.questions:
        if anchor not in anchors:
            problems.append(Problem(file, 2, f"questions: no section has the anchor {anchor!r}"))
    return sections, problems


def _blocks(tokens: list[Token], first_line: int) -> Iterator[tuple[str, str, int]]:
    """Yield (kind, text, line) for headings, paragraphs, list items, and anything that the format does not know."""
    open_kind, depth = "", 0
    for token in tokens:
        line = first_line + (token.map[0] if token.map else 0)
        if token.type == "heading_open":
            open_kind = "heading" if token.tag == "h2" else "other-heading"
        elif token.type == "paragraph_open":
            open_kind = "item" if depth else "paragraph"
        elif token.type == "list_item_open":
            depth += 1
        elif token.type == "list_item_close":
            depth -= 1
        elif token.type == "inline":
            if open_kind == "other-heading":
                yield "other", f"a heading other than '##' ({token.content!r})", line
            else:
                yield open_kind, token.content, line
        elif token.type in ("html_block", "fence", "code_block", "blockquote_open", "hr"):
            yield "other", token.type.removesuffix("_open").replace("_", " "), line


def _sentences(file: str, text: str, line: int, *, is_item: bool) -> tuple[list[Sentence], list[Problem]]:
    sentences: list[Sentence] = []
    problems: list[Problem] = []
    position = 0
    for match in CITED_SENTENCE.finditer(text):
        if match.start() != position:
            break
        at = line + text.count("\n", 0, match.start())
        keys = tuple(KEY.findall(match["keys"]))
        words = _plain(match["text"])
        if not keys or re.sub(KEY, "", match["keys"]).strip(" ;,"):
            problems.append(Problem(file, at, f"malformed citation [{match['keys']}]; write [@source-id] or [@one; @two]"))
        inner = INNER_BOUNDARY.search(words)
        if inner:
            problems.append(Problem(file, at, f"uncited claim: {words[: inner.start() + 1]!r}"))
        end = match["end"] or ("" if words[-1:] in ".!?" else ".")
        sentences.append(Sentence(words + end, keys, at, is_item=is_item))
        position = match.end()
    rest = _plain(text[position:])
    if rest:
        at = line + text.count("\n", 0, position)
        if rest.endswith(":") and not is_item:
            sentences.append(Sentence(rest, (), at, is_lead=True))
        else:
            problems.append(Problem(file, at, f"uncited claim: {rest[:80]!r}"))
    return sentences, problems


def _plain(text: str) -> str:
    """Fold white space and drop emphasis marks, so that a sentence can be quoted verbatim."""
    return re.sub(r"\s+", " ", re.sub(r"(\*\*|__|`)", "", text)).strip()
