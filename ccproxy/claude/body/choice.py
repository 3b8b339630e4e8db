"""``tool_choice``, and the text that replaces it. Pure.

A choice that requires a call is sent only if the model takes it and does not think, or
if the operator wants it. Otherwise the choice is ``auto``, and a text at the end of the
conversation asks the model for the call. The system prompt and the tools stay the same:
a change there would void the cache and the thinking of the whole conversation.

==============================  =====================================================
the conversation ends with      place of the text
==============================  =====================================================
the user, and the model takes   a system message at the end
system messages
text of the user                a text block after it
results of calls                none: text after results teaches a model to give
                                empty answers. The text is sent if the first answer
                                has no call (see `ccproxy.claude.shaping`).
the assistant (a prefill)       none
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
    """Check that the tools that a choice requires exist.

    Raises:
        InvalidRequest: they do not.
    """
    if choice is None or not choice.must_call:
        return
    if not names:
        raise InvalidRequest(
            f"`{path}` requires a call, but `tools` is empty",
            param=path,
        )
    if choice.type == "tool" and choice.name not in names:
        raise InvalidRequest(
            f"`{path}`: there is no tool named {choice.name!r} in `tools`", param=path
        )


def native_choice(choice: ToolChoice | None, *, forced: bool) -> JSONObject | None:
    """The value of ``tool_choice``; None: the field is not sent.

    Args:
        choice: the client's.
        forced: whether a required call is sent; otherwise ``auto`` is.
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


def call_request(names: Sequence[str]) -> str:
    """The text that asks the model for a call."""
    if len(names) == 1:
        return f"Your next answer has to be a call of the tool `{names[0]}`."
    listed = ", ".join(f"`{name}`" for name in names)
    return f"Your next answer has to be a call of one of the tools {listed}."


def can_append_text(turns: Sequence[Turn], *, system_messages: bool) -> bool:
    """Whether the end of the turns has a place for a text to the model."""
    last = turns[-1]
    if last.role == "user":
        return system_messages or not has_result(last)
    return last.role == "system"


def append_text(
    turns: Sequence[Turn], words: str, *, system_messages: bool
) -> list[Turn]:
    """The turns with a text to the model at the end, if there is a place for it."""
    if not can_append_text(turns, system_messages=system_messages):
        return list(turns)
    last = turns[-1]
    if last.role == "system":
        blocks = [*last.blocks, text_block(words)]
        return [*turns[:-1], Turn("system", blocks, last.at, last.extra)]
    if system_messages:
        return [*turns, Turn("system", words)]
    return [*turns, Turn("user", [text_block(words)])]
