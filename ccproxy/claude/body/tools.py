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

Source: rules 5, 13, 15, 28 to 32 and 34 of the Messages API.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw

from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.numbers import is_reprinted
from ccproxy.claude.body.pairing import has_result
from ccproxy.claude.body.result import Notes
from ccproxy.claude.body.subset import is_in_subset
from ccproxy.claude.body.turns import Turn
from ccproxy.core.errors import InvalidRequest, UnsupportedValue
from ccproxy.core.messages import Tool, ToolChoice, ToolUse, client_tool, text_block
from ccproxy.core.tool_names import is_sound

_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_COMBINED = ("anyOf", "oneOf", "allOf")
_NEW_WEB_SEARCH = "web_search_2026"
_OLD_WEB_SEARCH = "web_search_20250305"

_encode = msgspec.json.Encoder().encode
_decode_shallow = msgspec.json.Decoder(dict[str, Raw]).decode
JSONObject: TypeAlias = dict[str, object]


def compose_tools(tools: Sequence[Tool], rules: ModelRules, notes: Notes) -> list[Tool]:
    """The corrected tools, in the client's order.

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
            tool = _with_schema(tool, at, notes)
        elif _is_too_new(tool, rules):
            notes.adjust(f"{at}.type")
            tool = tool.replaced(type=_OLD_WEB_SEARCH)
        composed.append(tool)
    return composed


def called_tools(turns: Iterable[Turn]) -> list[Tool]:
    """A tool for each name that the history calls, for a request without tools.

    Source: rule 15 of the Messages API: calls without any tools were once refused.
    """
    names: dict[str, None] = {}
    for turn in turns:
        if isinstance(turn.content, str):
            continue
        for block in turn.content:
            if isinstance(block.value, ToolUse):
                names[block.value.name] = None
    schema = {"type": "object"}
    return [client_tool(name, None, schema) for name in names]


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


def _with_schema(tool: Tool, at: str, notes: Notes) -> Tool:
    given = tool.value.input_schema
    if not isinstance(given, Raw):
        return tool
    path = path_of(tool, at, "input_schema")
    try:
        fields = _decode_shallow(given)
    except msgspec.ValidationError:
        raise InvalidRequest(
            f"`{path}` must be a JSON Schema of type object", param=path
        ) from None
    changes: dict[str, object] = {}
    if any(name in fields for name in _COMBINED):
        schema = merged(msgspec.json.decode(given))
        changes["input_schema"] = schema
        changes["description"] = described(tool.value.description, bytes(given))
        notes.adjust(path)
        properties: Iterable[str] = schema.get("properties", {})
    else:
        if "type" not in fields:
            changes["input_schema"] = {"type": "object", **fields}
            notes.adjust(path)
        properties = _properties(fields)
    _check_properties(properties, path)
    if tool.renamed and tool.value.strict:
        is_changed = "input_schema" in changes
        if is_changed or not is_in_subset(msgspec.json.decode(given)):
            changes["strict"] = UNSET
            notes.adjust(path_of(tool, at, "strict"))
    return tool.replaced(**changes) if changes else tool


def _properties(fields: Mapping[str, Raw]) -> Iterable[str]:
    given = fields.get("properties")
    if given is None:
        return ()
    try:
        return _decode_shallow(given)
    except msgspec.ValidationError:
        # The provider's error about this is the better one.
        return ()


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


def merged(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Merge ``anyOf``, ``oneOf`` and ``allOf`` at the root of a schema into one object.

    Every object that satisfies the schema satisfies the result. The result has the
    properties of all branches. It requires the properties that the root requires, that
    every branch of ``anyOf`` or ``oneOf`` requires, or that a branch of ``allOf``
    requires.
    """
    kept = {k: v for k, v in schema.items() if k not in _COMBINED}
    properties: dict[str, Any] = {}
    required = dict.fromkeys(_names(schema))
    own = schema.get("properties")
    if isinstance(own, Mapping):
        properties.update(own)
    for keyword in _COMBINED:
        branches = [_resolved(b, schema) for b in _list(schema.get(keyword))]
        for branch in branches:
            found = branch.get("properties")
            if isinstance(found, Mapping):
                for name, value in found.items():
                    _put(properties, name, value)
        sets = [set(_names(branch)) for branch in branches]
        if sets:
            common = set.union(*sets) if keyword == "allOf" else set.intersection(*sets)
            required.update(dict.fromkeys(sorted(common)))
    kept["type"] = "object"
    kept["properties"] = properties
    kept.pop("required", None)
    if required:
        kept["required"] = list(required)
    kept.pop("unevaluatedProperties", None)
    return kept


def _put(properties: dict[str, Any], name: str, value: Any) -> None:
    known = properties.get(name)
    if known is None or known == value:
        properties[name] = value
        return
    choices = known["anyOf"] if _is_choice(known) else [known]
    if value not in choices:
        properties[name] = {"anyOf": [*choices, value]}


def _is_choice(schema: Any) -> bool:
    return isinstance(schema, Mapping) and set(schema) == {"anyOf"}


def _resolved(branch: Any, root: Mapping[str, Any], depth: int = 8) -> dict[str, Any]:
    """A branch as one object: its ``$ref`` resolved, its own branches merged."""
    if not isinstance(branch, Mapping) or not depth:
        return {}
    reference = branch.get("$ref")
    if isinstance(reference, str):
        found = _found(root, reference)
        return _resolved(found, root, depth - 1)
    if not any(keyword in branch for keyword in _COMBINED):
        return dict(branch)
    inner = {
        k: [_resolved(b, root, depth - 1) for b in _list(v)] if k in _COMBINED else v
        for k, v in branch.items()
    }
    return merged(inner)


def _found(root: Mapping[str, Any], reference: str) -> Any:
    if not reference.startswith("#/"):
        return None
    found: Any = root
    for step in reference[2:].split("/"):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step.replace("~1", "/").replace("~0", "~"))
    return found


def _names(schema: Mapping[str, Any]) -> list[str]:
    return [name for name in _list(schema.get("required")) if isinstance(name, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


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
