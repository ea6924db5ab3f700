"""Asks the chat model, where one is set and this is switched on, whether the guardrail overlooked a red flag. It can only raise the level."""

import logging
import re
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import HumanMessage, SystemMessage

from bot.turn import FlagFound, Message, Verdict
from bot.write import read_prompt
from kb.red_flags import LEVELS, Level

log = logging.getLogger(__name__)
WORD = re.compile(r"\W*(emergency|urgent|see_doctor|none)\b", re.IGNORECASE)
CHARACTERS = 1500


class SecondOpinion:
    """One chat model's look at a conversation."""

    def __init__(self, model: Any) -> None:
        """Keep the LangChain chat model."""
        self.model = model

    def __call__(self, verdict: Verdict, messages: Sequence[Message]) -> Verdict:
        """Return `verdict`, raised to the model's level where that is higher; any failure or odd answer leaves it as it is."""
        if verdict.level == "emergency" or verdict.failed:
            return verdict
        told = "\n".join(f"{m.role}: {m.content[:CHARACTERS]}" for m in messages[-9:])
        try:
            answer = self.model.invoke([SystemMessage(read_prompt("triage")), HumanMessage(f"<conversation>\n{told}\n</conversation>")])
        except Exception as error:  # noqa: BLE001  every provider raises its own; the guardrail's own verdict stands
            log.warning("second opinion failed: %s", type(error).__name__)
            return verdict
        match = WORD.match(str(answer.content))
        level: Level = next((name for name in LEVELS if match and name == match[1].lower()), "none")
        if LEVELS.index(level) <= LEVELS.index(verdict.level):
            return verdict
        words = re.sub(r"\s+", " ", messages[-1].content).strip()[:160]
        flags = verdict.flags or (FlagFound(code="other", evidence=words, turn=len(messages) - 1),)
        return Verdict(level=level, flags=flags, language=verdict.language)
