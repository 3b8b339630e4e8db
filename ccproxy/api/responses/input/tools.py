"""Decodes ``tools`` and ``tool_choice`` of Responses. Pure.

For the model, the name of a tool in a namespace contains the namespace. Shell tools
become tools whose schema describes the ``action`` of a shell call.

Source: ``Tool`` and ``ToolChoiceParam`` in OpenAI's document; requests of Codex.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from attrs import evolve, frozen

from ccproxy.api.common.custom_tools import custom_tool
from ccproxy.api.common.decoding import decode_json, is_null, required
from ccproxy.api.common.fates import NO_SUCH_FEATURE, ignored, name_unread, name_unused
from ccproxy.api.common.tool_choice import decode_choice
from ccproxy.api.common.tools import (
    RENAMED,
    ToolIdentity,
    ToolKind,
    ToolTable,
    function_tool,
    strict_field,
)
from ccproxy.api.common.web_search import (
    NO_SETTING,
    RESERVED,
    SearchFilters,
    UserLocation,
    web_search,
)
from ccproxy.api.common.web_search import TYPE as SEARCH_TYPE
from ccproxy.api.responses.input.tool_forms import plain
from ccproxy.core.errors import unsupported
from ccproxy.core.messages import Adjustments, Tool, ToolChoice, WebSearch, client_tool

_SEARCH_FIELDS = ("filters", "user_location", "max_uses")
# A tool that finds deferred functions. It is not needed: all functions are sent.
_TOOL_SEARCH = "tool_search"
_MAX_CALLS = "max_tool_calls"
_OFFERED = ("function", "custom", "namespace", "local_shell", "shell")
_SYNTAXES = ("lark", "regex")
_MILLISECONDS = {"type": "integer", "description": "Time limit in milliseconds."}
_LOCAL_SHELL_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "command": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The program and its arguments.",
        },
        "working_directory": {"type": "string"},
        "timeout_ms": _MILLISECONDS,
        "env": {"type": "object", "additionalProperties": {"type": "string"}},
        "user": {"type": "string", "description": "The user to run it as."},
    },
    "required": ["command"],
}
_SHELL_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "commands": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Shell commands, to be run in sequence.",
        },
        "timeout_ms": _MILLISECONDS,
        "max_output_length": {
            "type": "integer",
            "description": "The largest number of characters of output to return.",
        },
    },
    "required": ["commands"],
}
_SHELLS: Mapping[ToolKind, tuple[str, Mapping[str, Any]]] = {
    ToolKind.LOCAL_SHELL: (
        "Runs one program on the user's machine and returns its output.",
        _LOCAL_SHELL_SCHEMA,
    ),
    ToolKind.SHELL: (
        "Runs shell commands on the user's machine and returns their output.",
        _SHELL_SCHEMA,
    ),
}


class _Format(msgspec.Struct):
    type: str
    syntax: str | None = None
    definition: str | None = None


class _Environment(msgspec.Struct):
    type: str
    skills: Annotated[
        object, ignored("describe them in a message or in `instructions`")
    ] = None


def _null() -> msgspec.Raw:
    return msgspec.Raw(b"null")


class ToolFields(msgspec.Struct):
    """The fields that are decoded, for all types of tools."""

    type: str
    name: str | None = None
    description: str | None = None
    # A factory, because msgspec cannot make a JSON Schema with a default of type Raw.
    parameters: msgspec.Raw = msgspec.field(default_factory=_null)
    # The name of `parameters` in the Messages API.
    input_schema: msgspec.Raw = msgspec.field(default_factory=_null)
    strict: bool | None = None
    defer_loading: Annotated[object, ignored("the model gets all tools at once")] = None
    output_schema: Annotated[object, ignored(NO_SUCH_FEATURE)] = None
    allowed_callers: Annotated[object, ignored("only the model calls tools")] = None
    is_async: Annotated[object, ignored("the model waits for each result")] = (
        msgspec.field(default=None, name="async")
    )
    # Fields of custom tools, namespaces and shells.
    format: _Format | None = None
    tools: list[msgspec.Raw] | None = None
    environment: _Environment | None = None
    # Fields of web search.
    filters: SearchFilters | None = None
    user_location: UserLocation | None = None
    max_uses: int | None = None
    search_context_size: Annotated[object, ignored(NO_SETTING)] = None
    search_content_types: Annotated[object, ignored(NO_SETTING)] = None
    # `false` forbids new requests to web sites.
    external_web_access: Annotated[object, ignored(NO_SETTING)] = None

    @property
    def schema_field(self) -> str:
        """The name of the field with a function's schema."""
        is_anthropic = is_null(self.parameters) and not is_null(self.input_schema)
        return "input_schema" if is_anthropic else "parameters"

    @property
    def schema(self) -> msgspec.Raw:
        """The schema of a function, or ``null``."""
        schema: msgspec.Raw = getattr(self, self.schema_field)
        return schema


# The fields that each type of tool uses.
_USED: Mapping[str, Collection[str]] = {
    "function": ("name", "description", "strict"),
    "custom": ("name", "description", "format"),
    "namespace": ("name", "description", "tools"),
    "shell": ("environment",),
}


_decoder = msgspec.json.Decoder(ToolFields)


@frozen(kw_only=True)
class DecodedTools:
    """The decoded tools of a request.

    Attributes:
        tools: the tools that the client's choice allows.
        choice: the ``tool_choice`` to send; None: the model decides.
        table: the names of all tools.
        echo: the tools as they are repeated in the response.
        echo_choice: the choice as it is repeated in the response.
    """

    tools: tuple[Tool, ...]
    choice: ToolChoice | None
    table: ToolTable
    echo: tuple[Mapping[str, Any], ...]
    echo_choice: Any


@frozen
class _Given:
    """A tool of the client, with its path in the request."""

    identity: ToolIdentity
    fields: ToolFields
    at: str


def decode_tools(
    given: Sequence[bytes],
    choice: object,
    adjustments: Adjustments,
    *,
    additional: Mapping[str, bytes],
    one_call: bool = False,
    max_tool_calls: int | None = None,
) -> DecodedTools:
    """Decode ``tools`` and ``tool_choice``.

    Args:
        given: the JSON of each entry of ``tools``.
        choice: ``tool_choice``, decoded to Python objects.
        adjustments: records the paths of tools and fields that are omitted or changed.
        additional: the JSON of further tools, by their paths; the response does not
            repeat them. A repeated definition counts once.
        one_call: whether the model may call only one tool at a time.
        max_tool_calls: the largest number of calls of the provider's tools.

    Raises:
        ClientError: a tool or the choice is invalid; ``param`` is its path.
    """
    decoded: list[ToolFields] = []
    found: list[_Given] = []
    paths = {f"tools[{index}]": raw for index, raw in enumerate(given)}
    known = set(given)
    for at, raw in additional.items():
        if raw not in known:
            known.add(raw)
            paths[at] = raw
    for path, definition in paths.items():
        kind, raw, at = plain(definition, path, adjustments)
        if kind == _TOOL_SEARCH:
            adjustments.ignore(at)
            if path not in additional:
                decoded.append(ToolFields(kind))
            continue
        if not kind.startswith(SEARCH_TYPE) and kind not in _OFFERED:
            unsupported(
                f"{at}.type",
                f"{kind!r} is not supported; send tools that your client runs: "
                "function, custom, namespace, local_shell or shell",
            )
        tool = _read(raw, at, adjustments)
        if path not in additional:
            decoded.append(tool)
        if kind.startswith(SEARCH_TYPE):
            adjustments.search_web(_search(tool, at, max_tool_calls))
        else:
            found += _tools(tool, at, adjustments)
    reserved = RESERVED if adjustments.web_searches else ()
    table = ToolTable([(one.identity, one.at) for one in found], reserved)
    made = [_tool(one, table.api_name(one.identity), adjustments) for one in found]
    wanted = decode_choice(choice, adjustments)
    if wanted.mode == "none":
        adjustments.forget_searches()
    if max_tool_calls is not None and not adjustments.web_searches:
        # `max_tool_calls` limits the calls of the provider's tools only.
        adjustments.ignore(_MAX_CALLS)
    tools, chosen = wanted.applied(made, table, one_call=one_call)
    return DecodedTools(
        tools=tools,
        choice=chosen,
        table=table,
        echo=tuple(map(_echo, decoded)),
        echo_choice="auto" if choice is None else _flat(choice),
    )


def _read(raw: bytes, at: str, adjustments: Adjustments) -> ToolFields:
    tool = decode_json(_decoder, raw, at=at)
    name_unread(raw, ToolFields, adjustments, at=at)
    is_search = tool.type.startswith(SEARCH_TYPE)
    used = ("type", *(_SEARCH_FIELDS if is_search else _USED.get(tool.type, ())))
    if tool.type == "function":
        used = (*used, tool.schema_field)
    name_unused(tool, used, adjustments, at)
    return tool


def _search(tool: ToolFields, at: str, max_tool_calls: int | None) -> WebSearch:
    live = f"{at}.external_web_access"
    wish = web_search(
        at,
        filters=tool.filters,
        user_location=tool.user_location,
        max_uses=tool.max_uses,
        unsent=(live,) if tool.external_web_access is False else (),
    )
    if max_tool_calls is None or tool.max_uses is not None:
        return wish
    settings = (*wish.settings, _MAX_CALLS)
    return evolve(wish, max_uses=max_tool_calls, settings=settings)


def _tools(tool: ToolFields, at: str, adjustments: Adjustments) -> Iterator[_Given]:
    match tool.type:
        case "namespace":
            yield from _nested(tool, at, adjustments)
        case "function" | "custom":
            yield _named(tool, at)
        case _:
            if tool.environment is not None and tool.environment.type != "local":
                unsupported(
                    f"{at}.environment.type",
                    "OpenAI's containers are not supported; send `local` for a shell "
                    "that your client runs",
                )
            identity = ToolIdentity(tool.type, ToolKind(tool.type))
            yield _Given(identity, tool, at)


def _nested(space: ToolFields, at: str, adjustments: Adjustments) -> Iterator[_Given]:
    name = required(space.name, f"{at}.name")
    tools = required(space.tools or None, f"{at}.tools")
    for index, raw in enumerate(tools):
        _, given, inner_at = plain(bytes(raw), f"{at}.tools[{index}]", adjustments)
        inner = _read(given, inner_at, adjustments)
        if inner.type not in ("function", "custom"):
            unsupported(
                f"{inner_at}.type",
                "a namespace may have function and custom tools only",
            )
        if space.description:
            own = inner.description
            description = f"{space.description}\n\n{own}" if own else space.description
            inner = msgspec.structs.replace(inner, description=description)
        yield _named(inner, inner_at, name)


def _named(tool: ToolFields, at: str, namespace: str | None = None) -> _Given:
    name = required(tool.name, f"{at}.name")
    return _Given(ToolIdentity(name, ToolKind(tool.type), namespace), tool, at)


def _tool(given: _Given, api_name: str, adjustments: Adjustments) -> Tool:
    tool, at = given.fields, given.at
    if api_name != given.identity.path_name:
        adjustments.adjust(f"{at}.name")
    match given.identity.kind:
        case ToolKind.LOCAL_SHELL | ToolKind.SHELL as kind:
            description, schema = _SHELLS[kind]
            return client_tool(api_name, description, schema, at=at)
        case ToolKind.FUNCTION:
            strict = strict_field(tool.strict)
            about = (api_name, tool.description, tool.schema, at)
            renamed = RENAMED if tool.schema_field == "parameters" else {}
            return function_tool(*about, strict=strict, renamed=renamed)
    form = tool.format
    if form is None or form.type == "text":
        return custom_tool(api_name, tool.description, None, None, at)
    if form.type != "grammar":
        unsupported(f"{at}.format.type", f"{form.type!r} is neither text nor grammar")
    syntax = required(form.syntax, f"{at}.format.syntax")
    if syntax not in _SYNTAXES:
        unsupported(f"{at}.format.syntax", f"{syntax!r} is neither lark nor regex")
    definition = required(form.definition, f"{at}.format.definition")
    # The description tells the model the grammar, but nothing enforces it.
    adjustments.adjust(f"{at}.format")
    return custom_tool(api_name, tool.description, syntax, definition, at)


def _flat(choice: Any) -> Any:
    """Convert a choice of any form to the form of Responses."""
    match choice:
        case "any":
            return "required"
        case {"type": "allowed_tools", "allowed_tools": dict(allowed)}:
            inner = [_flat(tool) for tool in allowed["tools"]]
            mode = allowed.get("mode", "auto")
            return {"type": "allowed_tools", "mode": mode, "tools": inner}
        case {"type": "allowed_tools"}:
            return {"mode": "auto", **choice}
        case {"type": kind, "function": {"name": name}}:
            return {"type": kind, "name": name}
        case {"type": kind, "custom": {"name": name}}:
            return {"type": kind, "name": name}
    return choice


def _echo(tool: ToolFields) -> Mapping[str, Any]:
    """The tool as it is repeated: only the fields of OpenAI's document."""
    match tool.type:
        case "function":
            return {
                "type": tool.type,
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.schema,
                "strict": tool.strict,
            }
        case "custom":
            about = {"type": tool.type, "name": tool.name}
            if tool.description is not None:
                about["description"] = tool.description
            return {**about, **_echo_format(tool.format)}
        case "namespace":
            inner = [
                _decoder.decode(plain(bytes(raw), "", Adjustments())[1])
                for raw in tool.tools or ()
            ]
            about = {"type": tool.type, "name": tool.name}
            nested = {
                "description": tool.description or "",
                "tools": [*map(_echo, inner)],
            }
            return {**about, **nested}
        case "shell" if tool.environment is not None:
            return {"type": tool.type, "environment": {"type": tool.environment.type}}
        case kind if kind.startswith(SEARCH_TYPE):
            return {"type": SEARCH_TYPE}
    return {"type": tool.type}


def _echo_format(form: _Format | None) -> Mapping[str, Any]:
    if form is None:
        return {}
    if form.type == "text":
        return {"format": {"type": "text"}}
    about = {"syntax": form.syntax, "definition": form.definition}
    return {"format": {"type": form.type, **about}}
