"""Where ``system`` messages may stand among the turns. Pure.

Where a model has them: behind a user's turn, at the end or before the assistant's, text
only, never two in a row. Any other is moved behind the user's turns that follow it; one
that no user's turn is beside becomes a user's. Where a model does not have them each
becomes a user's turn at its place. All of it is named.

Source: rule 5 of the Messages API, "Mid-conversation system messages".
"""

from collections.abc import Sequence

from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.turns import Turn
from ccproxy.core.messages import Block, Text


def place_system_messages(
    turns: Sequence[Turn], notes: Notes, *, allowed: bool, after_server_tool: bool
) -> list[Turn]:
    """The turns between two of the assistant's, with system messages where they fit.

    Args:
        turns: of the user and the system; the results of calls already in front.
        notes: take what is moved or becomes a user's turn.
        allowed: whether the model has system messages.
        after_server_tool: whether the assistant's turn before ends in a server tool.
    """
    if all(turn.role == "user" for turn in turns):
        return list(turns)
    if not allowed:
        return [_as_user(turn, notes) for turn in turns]
    told = [t if _is_text(t) else _as_user(t, notes) for t in turns]
    users = [turn for turn in told if turn.role == "user"]
    systems = [turn for turn in told if turn.role == "system"]
    if not users and not after_server_tool:
        return [_as_user(turn, notes) for turn in told]
    has_user_behind = False
    for turn in reversed(told):
        if turn.role == "user":
            has_user_behind = True
        elif has_user_behind:
            notes.adjust(turn.at)
    return [*users, *_joined(systems, notes)]


def leading_system_text(turn: Turn) -> str | None:
    """The text of a system message; None: it has something else in it."""
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
