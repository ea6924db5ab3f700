"""Brings in a publisher's HTML, PDF, DOCX or plain Markdown file with a small sidecar of metadata, as an article like any other.

`leaflet.pdf` needs `leaflet.meta.yaml` beside it: the front matter of an article, plus `cite`, the sources that the whole file rests on.
The file is turned into our own article text, so the same reader and the same vetting apply to it. Established loaders do the reading.
"""

import re
from pathlib import Path

import yaml

from kb.article import INNER_BOUNDARY, Article, Problem, parse_article

KINDS = (".html", ".htm", ".pdf", ".docx", ".md")
SIDECAR = ".meta.yaml"


def read_imported(kb: Path) -> tuple[list[Article], list[Problem]]:
    """Read every file below `kb/articles` that has a sidecar; files of these kinds without one are refused, save own Markdown."""
    articles: list[Article] = []
    problems: list[Problem] = []
    for path in sorted((kb / "articles").rglob("*")):
        if path.suffix.lower() not in KINDS or (path.suffix == ".md" and not _sidecar(path).is_file()):
            continue
        name = str(path.relative_to(kb))
        if not _sidecar(path).is_file():
            problems.append(Problem(name, 1, f"no {_sidecar(path).name} beside it; unvetted text is refused"))
            continue
        try:
            article, found = parse_article(name, as_article(path, _sidecar(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, yaml.YAMLError) as error:
            problems.append(Problem(name, 1, f"cannot be brought in: {str(error).splitlines()[0]}"))
            continue
        problems += found
        if article:
            articles.append(article)
    return articles, problems


def as_article(path: Path, sidecar: str) -> str:
    """Return the text of an article in our form: the sidecar as front matter, each sentence cited to the sidecar's `cite`.

    Raises:
        ValueError: the sidecar names no source, or the file cannot be read as what its ending says.
    """
    data = yaml.safe_load(sidecar)
    if not isinstance(data, dict) or not isinstance(data.get("cite"), list) or not data["cite"]:
        raise ValueError(f"{_sidecar(path).name}: cite: needs a list of source ids that the whole file rests on")
    marks = "; ".join(f"@{key}" for key in data.pop("cite"))
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n\n{_cited(_markdown(path), marks)}\n"


def _sidecar(path: Path) -> Path:
    return path.with_name(path.stem + SIDECAR)


def _markdown(path: Path) -> str:
    """Return a file as Markdown with headings."""
    kind = path.suffix.lower()
    try:
        if kind == ".pdf":
            from pypdf import PdfReader

            return _headings_by_look("\n".join(page.extract_text() for page in PdfReader(path).pages))
        if kind == ".md":
            return path.read_text(encoding="utf-8")
        from markdownify import markdownify

        if kind == ".docx":
            import mammoth

            with path.open("rb") as file:
                page = mammoth.convert_to_html(file).value
        else:
            page = re.sub(r"(?is)<(script|style|nav|header|footer)\b.*?</\1>", "", path.read_text(encoding="utf-8"))
        return str(markdownify(page, heading_style="ATX", strip=["a", "img"], escape_underscores=False, escape_misc=False))
    except ImportError as error:
        raise ValueError(f"the loader for {kind} is not installed: pip install 'backtalk[import]' ({error.name})") from error
    except Exception as error:
        raise ValueError(f"not a readable {kind[1:].upper()} file ({type(error).__name__})") from error


def _headings_by_look(text: str) -> str:
    """Mark the headings of plain text: a short line that asks, or that has no full stop and is followed by a longer one."""
    lines = [line.strip() for line in text.splitlines()]
    out = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        short = 0 < len(line.split()) <= 12
        heading = short and (line.endswith("?") or (line[0].isupper() and line[-1].isalnum() and len(following) > len(line)))
        out.append(f"\n## {line}\n" if heading else line)
    return "\n".join(out)


def _cited(markdown: str, marks: str) -> str:
    """Return the body in our form: '##' headings, and each sentence with its citation."""
    blocks = []
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*+•]|\d+[.)])\s)|(?<=\n)(?=#)", markdown):
        text = re.sub(r"\s+", " ", block).strip().replace("[", "(").replace("]", ")")
        if not text:
            continue
        heading = re.match(r"#{1,6}\s+(.*)", text)
        item = re.match(r"(?:[-*+•]|\d+[.)])\s+(.*)", text)
        if heading:
            blocks.append(f"## {heading[1].strip('*_ ')}")
        elif text.endswith(":"):
            blocks.append(text)
        else:
            words = item[1] if item else text
            cited = "\n".join(_with_mark(sentence, marks) for sentence in _sentences(words))
            blocks.append(f"- {cited}" if item else cited)
    # A title with nothing under it is the name of the whole, not a section.
    return "\n\n".join(b for b, n in zip(blocks, [*blocks[1:], "##"], strict=True) if not (b.startswith("## ") and n.startswith("##")))


def _sentences(text: str) -> list[str]:
    cuts = [0, *(match.start() + 1 for match in INNER_BOUNDARY.finditer(text)), len(text)]
    return [text[a:b].strip() for a, b in zip(cuts, cuts[1:], strict=False) if text[a:b].strip()]


def _with_mark(sentence: str, marks: str) -> str:
    end = sentence[-1] if sentence[-1] in ".!?" else "."
    return f"{sentence.rstrip('.!? ')} [{marks}]{end}"
