"""Chooses what makes an answer follow a JSON Schema: a field, or a tool. Pure.

``output_config.format`` is sent if the model takes this field, the provider can enforce
the schema, and the request has neither citations nor a prefill. Keywords that only
narrow a value are left out of the schema and reported; the proxy checks the answer
against the client's whole schema.

Otherwise the proxy adds a tool after the client's tools. The arguments of this tool are
the answer. ``json_object`` always uses the tool, because ``output_config.format`` needs
closed objects. The tool's description has the instruction to the model, so the system
prompt is not changed. Arguments are always an object. If the schema allows another
type, the arguments have one property with the answer, and the client gets the value of
this property.

If the client requires a call of one of its tools, the answer has no format.

Source: rules 31 and 38 of the Messages API.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from attrs import frozen
from msgspec import Raw, UnsetType

from ccproxy.claude.body.models import ModelRules
from ccproxy.claude.body.numbers import is_reprinted
from ccproxy.claude.body.result import AnswerTool, Notes
from ccproxy.claude.body.subset import GrammarLimits
from ccproxy.claude.body.tools import described
from ccproxy.claude.schemas.arguments import argument_schema
from ccproxy.claude.schemas.upgrade import may_be_older, upgraded
from ccproxy.claude.shaping.wrapped import VALUE, allows_objects_only, wrapped
from ccproxy.core.errors import InvalidRequest, MissingParameter
from ccproxy.core.messages import MessagesRequest, OutputFormat, Tool, client_tool

_NAME = "structured_output"
_DESCRIPTION = (
    "Gives the final answer. Call it exactly once, when the answer is ready; its "
    "arguments are the whole answer. Do not answer in prose."
)
# Keywords that determine the type of a value.
_TYPED = frozenset(("type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf"))
_CITATIONS = b'"citations"'

_encode = msgspec.json.Encoder().encode


@frozen(kw_only=True)
class OutputChoice:
    """How the answer gets its format.

    Attributes:
        format: the value of ``output_config.format``; None: the field is not sent.
        schema: the client's schema, for the check of the answer; None: no check.
        tool: the proxy's tool for the answer, to be sent after the client's tools.
        answer_tool: the name of ``tool`` and the schema, for the answer's shaper.
    """

    format: bytes | None = None
    schema: bytes | None = None
    tool: Tool | None = None
    answer_tool: AnswerTool | None = None


def choose_output(
    request: MessagesRequest,
    rules: ModelRules,
    tools: Sequence[Tool],
    limits: GrammarLimits,
    notes: Notes,
) -> OutputChoice:
    """Choose how the answer gets the client's format.

    ``limits`` is the part of the provider's limits that the request's tools leave.

    Raises:
        ClientError: the format is invalid.
    """
    at = notes.name("output_config.format")
    try:
        form = request.output_format
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"`{at}`: {error}", param=at) from None
    if form is None or form.type == "text":
        return OutputChoice()
    choice = request.tool_choice
    has_answer = choice is None or not choice.must_call
    if form.type == "json_object":
        if not has_answer:
            notes.ignore(at)
            return OutputChoice()
        return _own_tool({"type": "object"}, None, tools, at)
    if form.type != "json_schema":
        # A newer format, which the provider may know. Otherwise its error explains it.
        return OutputChoice(format=_given(request))
    output = _by_schema(request, form, rules, tools, limits, at, notes)
    # If a call is required, there is no answer to check and no tool to add.
    return output if has_answer else OutputChoice(format=output.format)


def _given(request: MessagesRequest) -> bytes | None:
    config = request.output_config
    form = None if config is None else config.value.format
    return bytes(form) if isinstance(form, Raw) else None


def _by_schema(
    request: MessagesRequest,
    form: OutputFormat,
    rules: ModelRules,
    tools: Sequence[Tool],
    limits: GrammarLimits,
    at: str,
    notes: Notes,
) -> OutputChoice:
    path = notes.names.get("output_config.format.schema", f"{at}.schema")
    if isinstance(form.schema, UnsetType):
        raise MissingParameter(f"`{path}` is missing", param=path)
    given = bytes(form.schema)
    try:
        schema = msgspec.json.decode(given, type=dict[str, Any])
        newest = upgraded(schema) if may_be_older(given) else schema
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(f"`{path}` must be a JSON Schema", param=path) from None
    if is_reprinted(given):
        notes.adjust(path)
    if rules.takes_output_format and not _is_excluded(request):
        sent = limits.take_part(_typed(newest))
        if sent == schema:
            return OutputChoice(format=_given(request), schema=given)
        if sent is not None:
            notes.adjust(path)
            fields = msgspec.json.decode(_given(request) or b"{}", type=dict[str, Raw])
            raw = _encode({**fields, "schema": sent})
            return OutputChoice(format=raw, schema=given)
    notes.adjust(at)
    return _own_tool(newest, given, tools, path)


def _typed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add ``type: object`` to a schema without keywords that determine the type."""
    is_untyped = _TYPED.isdisjoint(schema)
    return {"type": "object", **schema} if is_untyped else schema


def _own_tool(
    schema: Mapping[str, Any],
    given: bytes | None,
    tools: Sequence[Tool],
    path: str,
) -> OutputChoice:
    """Make the proxy's tool for the answer; ``path`` is that of the client's schema."""
    is_wrapped = not allows_objects_only(schema)
    raw = Raw(_encode(wrapped(schema) if is_wrapped else schema))
    offered = argument_schema(raw, "", is_checked=False)
    description, inner = _DESCRIPTION, "input_schema"
    if is_wrapped:
        description += f" The answer is the value of `{VALUE}`."
        inner += f".properties.{VALUE}"
    if offered.is_merged:
        description = described(description, bytes(raw))
    name = _free_name({tool.value.name for tool in tools})
    return OutputChoice(
        tool=client_tool(
            name,
            description,
            offered.json,
            at=path.removesuffix(".schema"),
            renamed=dict.fromkeys(("input_schema", inner), "schema"),
        ),
        answer_tool=AnswerTool(name=name, schema=given, is_wrapped=is_wrapped),
    )


def _free_name(taken: set[str]) -> str:
    name = _NAME
    number = 1
    while name in taken:
        number += 1
        name = f"{_NAME}_{number}"
    return name


def _is_excluded(request: MessagesRequest) -> bool:
    """Whether citations or a prefill exclude ``output_config.format``."""
    last = request.messages[-1] if request.messages else None
    if last is not None and last.role == "assistant":
        return True
    return any(
        _CITATIONS in block.raw and _has_citations(block.fields)
        for message in request.messages
        if not isinstance(message.content, str)
        for block in message.content
        if block.type == "document"
    )


def _has_citations(fields: Mapping[str, Raw]) -> bool:
    try:
        found = msgspec.json.decode(fields["citations"], type=dict[str, Any] | None)
    except (KeyError, msgspec.ValidationError):
        return False
    return found is not None and found.get("enabled") is True
