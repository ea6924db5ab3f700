"""Lets a chat model write the answer from the numbered passages, then keeps only what those passages support.

The only module that calls a language model. Whatever goes wrong (time-out, refusal, garbage, invented marks, too little left) ends in
None, and the chain gives the extractive answer instead.
"""

import logging
import re
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

from langchain.chat_models import init_chat_model
from langchain_core.messages import HumanMessage, SystemMessage

from bot.guardrail.check import unsafe
from bot.settings import BadSetting, Settings
from bot.support import best_support
from bot.turn import Draft, DraftSentence, Message, Retrieved

log = logging.getLogger(__name__)
MARKED = re.compile(r"(?P<text>[^\[\]]+?)(?P<marks>(?:\s*\[\d{1,3}\])+)(?P<end>[.!?]?)", re.DOTALL)
MIN_SENTENCES = 2
MAX_TOKENS = 700


@lru_cache(maxsize=4)
def read_prompt(name: str) -> str:
    """Return a prompt of `bot/prompts`."""
    return (resources.files("bot") / "prompts" / f"{name}.md").read_text(encoding="utf-8")


class ModelWriter:
    """Writes drafts with one chat model."""

    def __init__(self, model: Any, name: str) -> None:
        """Keep the LangChain chat model and the name that replies will carry."""
        self.model = model
        self.name = name

    def __call__(self, retrieved: Retrieved, messages: Sequence[Message]) -> Draft | None:
        """Return a draft in which every sentence is supported by the passage that it cites, or None."""
        try:
            answer = self.model.invoke(render(retrieved, messages))
        except Exception as error:  # noqa: BLE001  every provider raises its own; all mean: no answer from the model
            log.warning("chat model failed: %s", type(error).__name__)
            return None
        text = (
            answer.content
            if isinstance(answer.content, str)
            else " ".join(p.get("text", "") for p in answer.content if isinstance(p, dict))
        )
        return verify(text, retrieved, self.name)


def open_model(settings: Settings) -> Any:
    """Open the chat model of the settings.

    Raises:
        BadSetting: the provider is unknown or its package is not installed.
    """
    provider, _, name = settings.llm.partition(":")
    if not provider or not name:
        raise BadSetting(f"BACKTALK_LLM: {settings.llm!r} is not provider:model")
    options: dict[str, Any] = {"timeout": settings.llm_timeout_s, "max_retries": 2, "max_tokens": MAX_TOKENS, "temperature": 0}
    if settings.llm_base_url:
        options["base_url"] = settings.llm_base_url
    if settings.llm_api_key:
        options["api_key"] = settings.llm_api_key.get_secret_value()
    try:
        return init_chat_model(name, model_provider=provider, **options)
    except ImportError as error:
        raise BadSetting(f"BACKTALK_LLM: {error}") from error
    except Exception as error:
        raise BadSetting(f"BACKTALK_LLM: {settings.llm!r} cannot be opened: {str(error).splitlines()[0]}") from error


def render(retrieved: Retrieved, messages: Sequence[Message]) -> list[SystemMessage | HumanMessage]:
    """Return the prompt: rules with the numbered passages, then the conversation and the question as data."""
    passages = "\n\n".join(
        f'<passage number="{p.rank}">\n{p.chunk.heading_path}\n{_data(p.chunk.text)}\n</passage>' for p in retrieved.passages
    )
    history = "\n".join(f"{m.role}: {_data(m.content[:500])}" for m in messages[-7:-1]) or "(none)"
    question = read_prompt("question").format(history=history, question=_data(messages[-1].content))
    return [SystemMessage(read_prompt("answer").format(passages=passages)), HumanMessage(question)]


def verify(text: str, retrieved: Retrieved, name: str) -> Draft | None:
    """Keep the sentences whose named passage supports them; None if the model declined or too little is left."""
    by_number = {p.rank: p.chunk for p in retrieved.passages}
    kept: list[DraftSentence] = []
    dropped: list[str] = []
    if "NO ANSWER" in text:
        return None
    for block in re.split(r"\n+", text):
        item = bool(re.match(r"\s*(?:[-*•]|\d+[.)])\s+", block))
        line = re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", block).strip()
        for match in MARKED.finditer(line):
            sentence = re.sub(r"\s+", " ", match["text"]).strip(" .;,") + "."
            cites = []
            for number in dict.fromkeys(int(n) for n in re.findall(r"\d+", match["marks"])):
                chunk = by_number.get(number)
                quote = best_support(sentence, [s.text for s in chunk.sentences if not s.is_lead]) if chunk else None
                if chunk and quote:
                    cites.append((chunk.id, quote))
            if cites and unsafe(sentence) is None:
                kept.append(DraftSentence(sentence[0].upper() + sentence[1:], tuple(cites), is_item=item))
            else:
                dropped.append(sentence)
    if len(kept) < MIN_SENTENCES or len(dropped) > len(kept):
        log.warning("chat model answer not used: %d sentences supported, %d not", len(kept), len(dropped))
        return None
    return Draft(tuple(kept), model=name, dropped=tuple(dropped))


def _data(text: str) -> str:
    """Return text that cannot close the tags around it."""
    return text.replace("<", "‹").replace(">", "›")
