"""``tool_choice`` and what stands in for it: words. Pure.

A forced choice goes up only where the model takes it and does not think, or where the
operator says so. Otherwise the choice is ``auto``, and the model is told in words at
the end of the conversation: never in the system prompt or the tools, because that costs
the cache and the thinking of the whole conversation.

==============================  =====================================================
the conversation ends with      the words stand
==============================  =====================================================
the user, and the model has     in a system message at the end
system messages
text of the user                in a text behind it
results of calls                nowhere: text behind results teaches a model to end
                                with empty answers. It is told so if its first answer
                                is none (see `ccproxy.claude.shaping`).
the assistant (a prefill)       nowhere
==============================  =====================================================

Source: rules 5, 13, 29 and 30 of the Messages API.
"""

from collections.abc import Sequence
from typing import TypeAlias

from ccproxy.claude.body.pairing import has_result
from ccproxy.claude.body.turns import Turn
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import ToolChoice, text_block

JSONObject: TypeAlias = dict[str, object]


def check_choice(
    choice: ToolChoice | None, names: Sequence[str], path: str = "tool_choice"
) -> None:
    """Check that what is demanded can be called.

    Raises:
        InvalidRequest: it cannot.
    """
    if choice is None or not choice.must_call:
        return
    if not names:
        raise InvalidRequest(
            f"`{path}` demands a call, and there is nothing in `tools` to call",
            param=path,
        )
    if choice.type == "tool" and choice.name not in names:
        raise InvalidRequest(
            f"`{path}`: there is no tool named {choice.name!r} in `tools`", param=path
        )


def native_choice(choice: ToolChoice | None, *, forced: bool) -> JSONObject | None:
    """The choice as the API has it; None: nothing is to be said.

    Args:
        choice: the client's.
        forced: whether a demand goes up as it is; else it is ``auto``.
    """
    if choice is None:
        return None
    if choice.type == "none":
        return {"type": "none"}
    sent: JSONObject = {"type": choice.type}
    if choice.type == "tool":
        sent["name"] = choice.name
    if choice.must_call and not forced:
        sent = {"type": "auto"}
    if choice.disable_parallel_tool_use is not None:
        sent["disable_parallel_tool_use"] = choice.disable_parallel_tool_use
    return sent


def order(names: Sequence[str]) -> str:
    """The demand, in words."""
    if len(names) == 1:
        return f"Your next answer has to be a call of the tool `{names[0]}`."
    listed = ", ".join(f"`{name}`" for name in names)
    return f"Your next answer has to be a call of one of the tools {listed}."


def has_room_for_words(turns: Sequence[Turn], *, system_messages: bool) -> bool:
    """Whether there is a place for words to the model at the end of turns."""
    last = turns[-1]
    if last.role == "user":
        return system_messages or not has_result(last)
    return last.role == "system"


def with_words(
    turns: Sequence[Turn], words: str, *, system_messages: bool
) -> list[Turn]:
    """The turns with words to the model at their end, where there is a place."""
    if not has_room_for_words(turns, system_messages=system_messages):
        return list(turns)
    last = turns[-1]
    if last.role == "system":
        blocks = [*last.blocks, text_block(words)]
        return [*turns[:-1], Turn("system", blocks, last.at, last.extra)]
    if system_messages:
        return [*turns, Turn("system", words)]
    return [*turns, Turn("user", [text_block(words)])]
