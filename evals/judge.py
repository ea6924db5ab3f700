"""Lets a language model decide whether an answer states a fact, through LangChain; optional, and never a gate of its own.

Each verdict is kept on disk under the model, the prompt and the pair, so an interrupted run goes on where it stopped and a repeated one
asks nothing. A reply that is neither yes nor no is kept as no verdict and not counted. How far the model can be believed is measured first,
on the same held-out pairs as the matcher.
"""

import logging
import re
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from bot.settings import BadSetting, Settings
from evals.progress import Tick
from evals.reply_text import is_answered, plain_of
from evals.run import Row, SuiteRun
from evals.validate import agreement, read_pairs
from ingest.chunk import digest
from ingest.cli import BadInput

log = logging.getLogger(__name__)
SCHEMA = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, said TEXT NOT NULL)"
VERDICT = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)
THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)
MAX_TOKENS = 2000
"""Enough for a model that thinks first."""
AT_A_TIME = 4


class Judge:
    """A judging model with its kept verdicts."""

    def __init__(self, model: Any, name: str, cache: Path) -> None:
        """Keep a LangChain chat model, its name, and the SQLite file of verdicts.

        Raises:
            BadInput: the file cannot be written.
        """
        self.model = model
        self.name = name
        self.cache = cache
        self.prompt = (resources.files("evals") / "prompts" / "judge.md").read_text(encoding="utf-8")
        self._lock = threading.Lock()
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(cache)) as connection, connection:
                connection.execute(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise BadInput(f"{cache}: cannot be written: {error}") from error

    def states(self, answer: str, fact: str) -> bool | None:
        """Return whether the answer states the fact, or None where the model gives no clear verdict.

        Raises:
            BadInput: the model cannot be asked; what it said before is kept.
        """
        key = digest("\n".join([self.name, self.prompt, answer, fact]))
        said = self._kept(key)
        if said is None:
            said = self._ask(answer, fact)
            with self._lock, closing(sqlite3.connect(self.cache, timeout=10)) as connection, connection:
                connection.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?)", (key, said))
        match = VERDICT.match(THINKING.sub("", said).strip())
        return match[1].lower() == "yes" if match else None

    def add_scores(self, run: SuiteRun, *, tick: Tick | None = None) -> None:
        """Add the judged share of key facts to each answer of a run, and the judge's agreement with the labelled pairs."""
        pairs = read_pairs("held-out")
        asked = [(pair.answer, pair.fact) for pair in pairs]
        answers = {row.case.id: plain_of(row.observed["reply"]) for row in run.rows if is_answered(row.observed["reply"])}
        asked += [(answers[row.case.id], fact) for row in run.rows if row.case.id in answers for fact in row.case.expected["key_facts"]]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            verdicts = []
            try:
                for verdict in pool.map(lambda pair: self.states(*pair), asked):
                    verdicts.append(verdict)
                    if tick:
                        tick("judge", len(verdicts), len(asked))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        known = dict(zip(asked, verdicts, strict=True))
        run.trust.append(agreement(f"the judge {self.name}", pairs, lambda answer, fact: known[answer, fact]))
        run.rows = [self._scored(row, answers.get(row.case.id), known) for row in run.rows]
        run.judged = True

    def _scored(self, row: Row, answer: str | None, known: dict[tuple[str, str], bool | None]) -> Row:
        facts = row.case.expected["key_facts"]
        found = [known[answer, fact] if answer else False for fact in facts]
        clear = [verdict for verdict in found if verdict is not None]
        share = sum(clear) / len(clear) if clear else None
        return replace(row, scored=replace(row.scored, scores=row.scored.scores | {"judged_fact_recall": share}))

    def _kept(self, key: str) -> str | None:
        with closing(sqlite3.connect(self.cache, timeout=10)) as connection:
            row = connection.execute("SELECT said FROM verdicts WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else None

    def _ask(self, answer: str, fact: str) -> str:
        prompt = self.prompt.format(answer=_data(answer), fact=_data(fact))
        try:
            said = self.model.invoke(prompt).content
        except Exception as error:  # every provider raises its own; all mean: no verdict can be had now
            raise BadInput(f"--judge {self.name}: {str(error).splitlines()[0][:200]}; verdicts so far are kept") from error
        return said if isinstance(said, str) else " ".join(part.get("text", "") for part in said if isinstance(part, dict))


def open_judge(name: str, settings: Settings, *, base_url: str = "") -> Judge:
    """Open a judging model as LangChain knows it, `provider:model`; its verdicts are kept beside the index.

    Raises:
        BadSetting: the provider is unknown or its package is not installed.
    """
    from langchain.chat_models import init_chat_model

    provider, _, model = name.partition(":")
    if not provider or not model:
        raise BadSetting(f"--judge: {name!r} is not provider:model, such as openai:gpt-5-mini")
    options: dict[str, Any] = {"timeout": settings.llm_timeout_s, "max_retries": 2, "max_tokens": MAX_TOKENS, "temperature": 0}
    if base_url or settings.llm_base_url:
        options["base_url"] = base_url or settings.llm_base_url
    if settings.llm_api_key:
        options["api_key"] = settings.llm_api_key.get_secret_value()
    try:
        opened = init_chat_model(model, model_provider=provider, **options)
    except ImportError as error:
        raise BadSetting(f"--judge: {error}") from error
    except Exception as error:
        raise BadSetting(f"--judge: {name!r} cannot be opened: {str(error).splitlines()[0]}") from error
    return Judge(opened, name, settings.index / "evals" / "judge.sqlite")


def _data(text: str) -> str:
    """Return text that cannot close the tags around it."""
    return text.replace("<", "‹").replace(">", "›")
