"""How a conversation becomes the one text that the classifier reads; training and serving must agree on it."""

from collections.abc import Sequence

USER_TURNS = 5
CHARACTERS = 900


def conversation_text(turns: Sequence[tuple[str, str]]) -> str:
    """Return the last user turns, each marked, with the question that the last one answers.

    Args:
        turns: (role, text) in order; the last is the user's newest message. Of the assistant's turns only the one right
            before it is kept: what the person said counts, the rest is ours.
    """
    users = [text for role, text in turns if role == "user"]
    if len(users) == 1:
        return users[0]
    parts = [f"user: {text[:CHARACTERS]}" for text in users[-USER_TURNS:]]
    if len(turns) > 1 and turns[-2][0] == "assistant":
        parts.insert(-1, f"bot: {turns[-2][1][:200]}")
    return " | ".join(parts)
