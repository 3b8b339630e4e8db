"""Places ``system`` messages among the turns. Pure.

If the model takes system messages, they must follow a user's turn, consist of text, and
end the conversation or precede a turn of the assistant; two must not be in a row. A
system message elsewhere is moved after the user's turns that follow it. Without such a
turn beside it, it becomes a user's turn. If the model takes no system messages, each
becomes a user's turn in its place. Every change is reported.

Source: rule 5 of the Messages API, "Mid-conversation system messages".
"""

from collections.abc import Sequence

from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.turns import Turn
from ccproxy.core.messages import Block, Text


def place_system_messages(
    turns: Sequence[Turn], notes: Notes, *, allowed: bool, after_server_tool: bool
) -> list[Turn]:
    """The turns between two of the assistant's, with system messages placed.

    Args:
        turns: of the user and the system, with all results of calls in front.
        notes: takes messages that are moved or become a user's turn.
        allowed: whether the model takes system messages.
        after_server_tool: whether the assistant's turn before them ends in a block of
            a server tool.
    """
    if all(turn.role == "user" for turn in turns):
        return list(turns)
    if not allowed:
        return [_as_user(turn, notes) for turn in turns]
    texts = [t if _is_text(t) else _as_user(t, notes) for t in turns]
    users = [turn for turn in texts if turn.role == "user"]
    systems = [turn for turn in texts if turn.role == "system"]
    if not users and not after_server_tool:
        return [_as_user(turn, notes) for turn in texts]
    is_user_next = False
    for turn in reversed(texts):
        if turn.role == "user":
            is_user_next = True
        elif is_user_next:
            notes.adjust(turn.at)
    return [*users, *_joined(systems, notes)]


def leading_system_text(turn: Turn) -> str | None:
    """The text of a system message; None: a block of it is no text."""
    if isinstance(turn.content, str):
        return turn.content
    texts = [b.value.text for b in turn.content if isinstance(b.value, Text)]
    return "\n\n".join(texts) if len(texts) == len(turn.content) else None


def _joined(systems: Sequence[Turn], notes: Notes) -> list[Turn]:
    if len(systems) < 2:
        return list(systems)
    blocks: list[Block] = []
    for turn in systems:
        blocks += turn.blocks
    for turn in systems[1:]:
        notes.adjust(turn.at)
    return [Turn("system", blocks, systems[0].at, systems[0].extra)]


def _as_user(turn: Turn, notes: Notes) -> Turn:
    if turn.role == "user":
        return turn
    notes.adjust(f"{turn.at}.role" if turn.at else "")
    return Turn("user", turn.content, turn.at, turn.extra)


def _is_text(turn: Turn) -> bool:
    if turn.role == "user" or isinstance(turn.content, str):
        return True
    return all(isinstance(block.value, Text) for block in turn.content)
