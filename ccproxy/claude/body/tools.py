"""Corrects tools that the provider would refuse, and ``tool_choice``. Pure.

==============================  ===================================================
a tool with                     what the proxy does
==============================  ===================================================
an invalid name, or a name      refuses the request
that another tool has
a schema without ``type``       adds ``type: object``
``anyOf``, ``oneOf``, ``allOf`` merges them; the description ends with the exact
at the root of its schema       schema
an invalid property name        refuses the request
OpenAI's ``strict``             keeps it if the provider can enforce the schema;
                                otherwise leaves it out
a newer web search              replaces it if the model takes only the older one
==============================  ===================================================

Changes are reported. All other tools are sent unchanged.

A choice that requires a call is sent only if the model takes it and does not think, or
if the operator wants it. Otherwise the choice is ``auto``, and a text at the end of the
conversation asks the model for the call. The system prompt and the tools stay the same,
because a change there would invalidate the prompt cache and the thinking of the whole
conversation.

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

Source: rules 5, 13, 15, 28 to 32 and 34 of the Messages API.
"""

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import msgspec
from msgspec import UNSET, Raw

from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.numbers import is_reprinted
from ccproxy.claude.body.pairing import has_result
from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.subset import GrammarLimits
from ccproxy.claude.body.turns import Turn
from ccproxy.claude.schemas.arguments import argument_schema
from ccproxy.core.blocks import ToolUse, text_block
from ccproxy.core.errors import InvalidRequest, UnsupportedValue
from ccproxy.core.messages import Tool, ToolChoice, client_tool
from ccproxy.core.tool_calls import is_sound

_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_NEW_WEB_SEARCH = "web_search_2026"
_OLD_WEB_SEARCH = "web_search_20250305"
_EARLIER_TOOL = "Stands for the tools of earlier calls, which are no longer available."

JSONObject: TypeAlias = dict[str, object]


def compose_tools(
    tools: Sequence[Tool], rules: ModelRules, limits: GrammarLimits, notes: Notes
) -> list[Tool]:
    """Correct the tools, in the client's order; strict tools use up ``limits``.

    Raises:
        InvalidRequest: two tools have the same name, or a name is invalid.
        UnsupportedValue: the provider refuses the name of a property.
    """
    seen: set[str] = set()
    composed: list[Tool] = []
    for index, tool in enumerate(tools):
        at = tool.at or f"tools[{index}]"
        _check_name(tool, at, seen)
        _report_numbers(tool, at, notes)
        if tool.value.type in ("custom", "function"):
            tool = _with_schema(tool, at, limits, notes)
        elif _is_too_new(tool, rules):
            notes.adjust(f"{at}.type")
            tool = tool.replaced(type=_OLD_WEB_SEARCH)
        composed.append(tool)
    return composed


def without_strict(tools: Sequence[Tool], notes: Notes) -> tuple[Tool, ...]:
    """The tools without ``strict``, which is reported."""
    loose: list[Tool] = []
    for index, tool in enumerate(tools):
        if tool.value.strict:
            notes.adjust(path_of(tool, tool.at or f"tools[{index}]", "strict"))
            tool = tool.replaced(strict=UNSET)
        loose.append(tool)
    return tuple(loose)


def tools_for_calls(turns: Iterable[Turn]) -> list[Tool]:
    """One tool if the history has calls, for a request without tools.

    The tool does not depend on the names that the history calls. Otherwise a call of
    a new name would change the tools, and with them the start of the cached prompt.

    Source: rule 15 of the Messages API: calls without any tools were once refused.
    """
    if not any(_has_call(turn) for turn in turns):
        return []
    return [client_tool("earlier_tool", _EARLIER_TOOL, {"type": "object"})]


def _has_call(turn: Turn) -> bool:
    return not isinstance(turn.content, str) and any(
        isinstance(block.value, ToolUse) for block in turn.content
    )


def _report_numbers(tool: Tool, at: str, notes: Notes) -> None:
    """Report the fields with numbers that the CLI changes."""
    if is_reprinted(tool.raw):
        for name, value in tool.fields.items():
            if is_reprinted(bytes(value)):
                notes.adjust(path_of(tool, at, name))


def path_of(tool: Tool, at: str, field: str) -> str:
    """The path of a tool's field in the client's request."""
    return f"{at}.{tool.renamed.get(field, field)}"


def _is_too_new(tool: Tool, rules: ModelRules) -> bool:
    is_new = tool.value.type.startswith(_NEW_WEB_SEARCH)
    return is_new and not rules.has_new_web_search


def _check_name(tool: Tool, at: str, seen: set[str]) -> None:
    name = tool.value.name
    if not name and tool.value.type not in ("custom", "function"):
        return
    path = path_of(tool, at, "name")
    if not is_sound(name):
        raise InvalidRequest(
            f"`{path}`: a tool's name is 1 to 128 letters, digits, _ and -", param=path
        )
    if name in seen:
        raise InvalidRequest(
            f"`{path}`: there is another tool named {name!r}", param=path
        )
    seen.add(name)


def _with_schema(tool: Tool, at: str, limits: GrammarLimits, notes: Notes) -> Tool:
    given = tool.value.input_schema
    if not isinstance(given, Raw):
        return tool
    path = path_of(tool, at, "input_schema")
    schema = argument_schema(given, path, is_checked=bool(tool.renamed))
    _check_properties(schema.properties, path)
    changes: dict[str, object] = {}
    if schema.is_changed:
        changes["input_schema"] = schema.json
        notes.adjust(path)
    if schema.is_merged:
        changes["description"] = described(tool.value.description, bytes(given))
    if tool.value.strict:
        fits = limits.take_tool(msgspec.json.decode(schema.json))
        # OpenAI's `strict` allows more than the provider can enforce.
        if tool.renamed and (schema.is_merged or not fits):
            changes["strict"] = UNSET
            notes.adjust(path_of(tool, at, "strict"))
    return tool.replaced(**changes) if changes else tool


def _check_properties(names: Iterable[str], path: str) -> None:
    for name in names:
        if not _PROPERTY.fullmatch(name):
            raise UnsupportedValue(
                f"`{path}.properties`: the model's API takes property names of 1 to "
                f"64 letters, digits, _, . and - only; rename {name!r}",
                param=f"{path}.properties",
            )


def described(description: str | None, schema: bytes) -> str:
    """A description that ends with the exact schema."""
    exact = f"The arguments satisfy this JSON Schema: {schema.decode()}"
    return f"{description}\n\n{exact}" if description else exact


def check_choice(
    choice: ToolChoice | None, names: Sequence[str], path: str = "tool_choice"
) -> None:
    """Check that the tools that a choice requires exist.

    Raises:
        InvalidRequest: a required tool does not exist.
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


def choice_field(choice: ToolChoice | None, *, forced: bool) -> JSONObject | None:
    """The value of ``tool_choice``; None: the field is not sent.

    Args:
        choice: the client's choice.
        forced: whether a required call is sent; otherwise ``auto`` is.
    """
    if choice is None:
        return None
    asked = "auto" if choice.must_call and not forced else choice.type
    sent: JSONObject = {**choice.extra, "type": asked}
    if asked == "tool":
        sent["name"] = choice.name
    if asked != "none" and choice.disable_parallel_tool_use is not None:
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
    """Append a text to the model to the turns, if there is a place for it."""
    if not can_append_text(turns, system_messages=system_messages):
        return list(turns)
    last = turns[-1]
    if last.role == "system":
        blocks = [*last.blocks, text_block(words)]
        return [*turns[:-1], Turn("system", blocks, last.at, last.extra)]
    if system_messages:
        return [*turns, Turn("system", words)]
    return [*turns, Turn("user", [text_block(words)])]
