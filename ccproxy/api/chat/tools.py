"""Decodes tools in requests of chat completions. Pure.

The forms of a tool:

===========================  ==================================================
``{"function": {…}}``        OpenAI's form; ``type`` may be absent
``{"name", "parameters"}``   the form of Responses
``{"name", "input_schema"}`` the form of the Messages API
``{"custom": {…}}``          OpenAI's custom tool
``{"name", "format"}``       the form of Responses, with or without ``type: custom``
===========================  ==================================================

Source: ``ChatCompletionTool``, ``CustomToolChatCompletions`` and
``ChatCompletionFunctions`` in OpenAI's document. Cursor and other clients send the
forms without nesting.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from attrs import frozen
from msgspec import UNSET, Raw, UnsetType

from ccproxy.api.chat.tool_calls import ToolCallFormat
from ccproxy.api.common.custom_tools import custom_tool
from ccproxy.api.common.decoding import required
from ccproxy.api.common.fates import ignored, name_unused
from ccproxy.api.common.past_calls import FunctionCallParam
from ccproxy.api.common.tool_choice import OpenAIToolChoice, decode_choice
from ccproxy.api.common.tools import (
    RENAMED,
    ToolIdentity,
    ToolKind,
    ToolTable,
    function_call,
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
from ccproxy.core.blocks import Block
from ccproxy.core.errors import InvalidRequest, unsupported
from ccproxy.core.messages import Adjustments, Tool, ToolChoice, WebSearch

_SEARCH_FIELDS = (
    *("filters", "user_location", "allowed_domains", "blocked_domains", "max_uses"),
)


class FunctionParam(msgspec.Struct):
    """A function in ``tools`` or ``functions``."""

    name: str
    description: str | None = None
    parameters: Raw | UnsetType = UNSET
    strict: bool | None = None
    cache_control: Raw | UnsetType = UNSET
    # The name of `parameters` in the Messages API.
    input_schema: Raw | UnsetType = UNSET


class _Grammar(msgspec.Struct):
    syntax: str
    definition: str


class _CustomFormat(msgspec.Struct):
    type: str
    grammar: _Grammar | None = None
    # The form of Responses.
    syntax: str | None = None
    definition: str | None = None


class _Custom(msgspec.Struct):
    name: str
    description: str | None = None
    format: _CustomFormat | None = None


class ChatToolParam(msgspec.Struct):
    """An entry of ``tools``."""

    type: str | None = None
    function: FunctionParam | None = None
    custom: _Custom | None = None
    # Fields of the other forms.
    name: str | None = None
    description: str | None = None
    parameters: Raw | UnsetType = UNSET
    input_schema: Raw | UnsetType = UNSET
    format: _CustomFormat | None = None
    strict: bool | None = None
    cache_control: Raw | UnsetType = UNSET
    # Fields of web search, in OpenAI's form and in the Messages API's.
    filters: SearchFilters | None = None
    user_location: UserLocation | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    max_uses: int | None = None
    search_context_size: Annotated[object, ignored(NO_SETTING)] = None


@frozen(kw_only=True)
class ToolConfig:
    """The decoded tools of a request.

    Attributes:
        tools: the tools that the client's choice allows.
        choice: the ``tool_choice`` to send; None: the model decides.
        call_format: the form of the calls in the answer.
    """

    tools: tuple[Tool, ...]
    choice: ToolChoice | None
    call_format: ToolCallFormat


@frozen
class _Given:
    """A client's tool, whatever its form in the request.

    Attributes:
        at: the path of the object that contains the tool's name.
        schema_field: the name of the request's field with the schema.
    """

    identity: ToolIdentity
    at: str
    description: str | None
    schema: Raw | UnsetType = UNSET
    schema_field: str = "parameters"
    format: _CustomFormat | None = None
    strict: bool | None = None
    cache_control: Raw | UnsetType = UNSET


def decode_tools(
    given: Sequence[ChatToolParam],
    choice: object,
    adjustments: Adjustments,
    *,
    one_call: bool = False,
) -> ToolConfig:
    """Decode ``tools`` and ``tool_choice``.

    Args:
        given: the tools.
        choice: ``tool_choice``, decoded to Python objects.
        adjustments: records wishes for web search, and the paths of renamed tools.
        one_call: whether the model may call only one tool at a time.

    Raises:
        ClientError: a tool or the choice is invalid; ``param`` is its path.
    """
    found: list[_Given] = []
    for index, tool in enumerate(given):
        at = f"tools[{index}]"
        if tool.type is not None and tool.type.startswith(SEARCH_TYPE):
            adjustments.search_web(_search(tool, at, adjustments))
        else:
            found.append(_given(tool, at, adjustments))
    table = _table(found, adjustments)
    offered = [_tool(tool, table, adjustments) for tool in found]
    chosen = decode_choice(choice, adjustments)
    if chosen.mode == "none":
        adjustments.forget_searches()
    left, required_choice = chosen.applied(offered, table, one_call=one_call)
    return ToolConfig(
        tools=left, choice=required_choice, call_format=ToolCallFormat(tools=table)
    )


def decode_functions(
    given: Sequence[FunctionParam], choice: object, adjustments: Adjustments
) -> ToolConfig:
    """Decode ``functions`` and ``function_call``, the former names of tools.

    Args:
        given: the functions.
        choice: ``function_call``, decoded to Python objects.
        adjustments: records the paths of renamed functions.

    Raises:
        ClientError: a function or the choice is invalid; ``param`` is its path.
    """
    found = [_function(f, f"functions[{n}]", adjustments) for n, f in enumerate(given)]
    table = _table(found, adjustments)
    match choice:
        case None | "auto":
            chosen = OpenAIToolChoice()
        case "none":
            chosen = OpenAIToolChoice(mode="none")
            adjustments.forget_searches()
        case {"name": str(name)}:
            chosen = OpenAIToolChoice(mode="tool", name=name)
        case _:
            raise InvalidRequest(
                '`function_call` must be `auto`, `none`, or `{"name": …}`',
                param="function_call",
            )
    offered = [_tool(tool, table, adjustments) for tool in found]
    left, required_choice = chosen.applied(
        offered, table, one_call=True, param="function_call", among="functions"
    )
    call_format = ToolCallFormat(tools=table, is_legacy=True)
    return ToolConfig(tools=left, choice=required_choice, call_format=call_format)


def _given(tool: ChatToolParam, at: str, adjustments: Adjustments) -> _Given:
    if tool.type not in (None, "function", "custom"):
        unsupported(
            f"{at}.type",
            f"{tool.type!r} is not supported; send function or custom tools",
        )
    if tool.function is not None:
        name_unused(tool, ("type", "function", "cache_control"), adjustments, at)
        both = (tool.function.cache_control, tool.cache_control)
        if UNSET not in both:
            adjustments.ignore(f"{at}.cache_control")
        at = f"{at}.function"
        return _function(tool.function, at, adjustments, tool.cache_control)
    if tool.custom is not None:
        name_unused(tool, ("type", "custom", "cache_control"), adjustments, at)
        about = (tool.custom.description, tool.custom.format, tool.cache_control)
        return _custom(tool.custom.name, f"{at}.custom", *about)
    name = required(tool.name, f"{at}.{tool.type or 'function'}")
    is_anthropic = not isinstance(tool.input_schema, UnsetType)
    field = "input_schema" if is_anthropic else "parameters"
    has_schema = is_anthropic or not isinstance(tool.parameters, UnsetType)
    is_text = tool.type is None and tool.format is not None and not has_schema
    if is_text or (tool.type == "custom" and not is_anthropic):
        used = ("type", "name", "description", "format", "cache_control")
        name_unused(tool, used, adjustments, at)
        about = (tool.description, tool.format, tool.cache_control)
        return _custom(name, at, *about)
    flat = ("type", "name", "description", "strict", "cache_control", field)
    name_unused(tool, flat, adjustments, at)
    return _Given(
        ToolIdentity(name),
        at,
        tool.description,
        tool.input_schema if is_anthropic else tool.parameters,
        field,
        strict=tool.strict,
        cache_control=tool.cache_control,
    )


def _function(
    function: FunctionParam,
    at: str,
    adjustments: Adjustments,
    cache_control: Raw | UnsetType = UNSET,
) -> _Given:
    inner = function.cache_control
    has_schema = not isinstance(function.input_schema, UnsetType)
    is_anthropic = has_schema and isinstance(function.parameters, UnsetType)
    if has_schema and not is_anthropic:
        adjustments.ignore(f"{at}.input_schema")
    return _Given(
        ToolIdentity(function.name),
        at,
        function.description,
        function.input_schema if is_anthropic else function.parameters,
        "input_schema" if is_anthropic else "parameters",
        strict=function.strict,
        cache_control=cache_control if isinstance(inner, UnsetType) else inner,
    )


def _custom(
    name: str,
    at: str,
    description: str | None,
    form: _CustomFormat | None,
    cache_control: Raw | UnsetType,
) -> _Given:
    if form is not None and form.type not in ("text", "grammar"):
        unsupported(f"{at}.format.type", f"{form.type!r} is neither text nor grammar")
    identity = ToolIdentity(name, ToolKind.CUSTOM)
    return _Given(identity, at, description, format=form, cache_control=cache_control)


def _search(tool: ChatToolParam, at: str, adjustments: Adjustments) -> WebSearch:
    used = ("type", "name", *_SEARCH_FIELDS)
    name_unused(tool, used, adjustments, at)
    return web_search(at, **{name: getattr(tool, name) for name in _SEARCH_FIELDS})


def _table(found: Sequence[_Given], adjustments: Adjustments) -> ToolTable:
    reserved = RESERVED if adjustments.web_searches else ()
    return ToolTable([(tool.identity, tool.at) for tool in found], reserved)


def _tool(given: _Given, table: ToolTable, adjustments: Adjustments) -> Tool:
    name = table.api_name(given.identity)
    if name != given.identity.name:
        adjustments.adjust(f"{given.at}.name")
    if given.identity.kind is ToolKind.CUSTOM:
        syntax, definition = _grammar(given.format, given.at)
        if syntax is not None:
            # The model is told the grammar in the description, but nothing enforces it.
            adjustments.adjust(f"{given.at}.format")
        about = (name, given.description, syntax, definition, given.at)
        return custom_tool(*about, given.cache_control)
    return function_tool(
        name,
        given.description,
        None if isinstance(given.schema, UnsetType) else given.schema,
        given.at,
        renamed=RENAMED if given.schema_field == "parameters" else {},
        strict=strict_field(given.strict),
        cache_control=given.cache_control,
    )


def _grammar(form: _CustomFormat | None, at: str) -> tuple[str | None, str | None]:
    if form is None or form.type == "text":
        return None, None
    if form.grammar is not None:
        return form.grammar.syntax, form.grammar.definition
    where = f"{at}.format.grammar"
    return required(form.syntax, where), required(form.definition, where)


class LegacyFunctionCalls:
    """Decodes legacy calls and results in the history, and makes ids for them."""

    def __init__(self, tools: ToolTable, adjustments: Adjustments) -> None:
        self._tools = tools
        self._adjustments = adjustments
        self._made = 0
        self._waiting: str | None = None

    def decode_call(self, call: FunctionCallParam, at: str) -> Block:
        """Decode a ``function_call`` in the history."""
        self._made += 1
        self._waiting = f"function-{self._made}"
        identity = ToolIdentity(call.name)
        name = self._tools.called_name(identity, f"{at}.name", self._adjustments)
        about = (self._waiting, name, call.arguments, at)
        return function_call(*about, self._adjustments)

    def result_of(self, at: str) -> str:
        """The id of the call for the result in a message of role ``function``.

        Args:
            at: the path of the message.

        Raises:
            InvalidRequest: there is no call before the message.
        """
        identifier, self._waiting = self._waiting, None
        if identifier is None:
            raise InvalidRequest(
                f"`{at}`: there is no `function_call` before this result",
                param=f"{at}.role",
            )
        return identifier
