"""The client's tools and calls in the terms of the Messages API. Pure.

The Messages API allows fewer names than OpenAI's APIs, and has neither namespaces nor
tools with free text as input. So a request has one `ToolTable`: it gives each tool of
the client a name that the API accepts, and finds the client's tool by that name. It
serves the definitions, ``tool_choice``, calls in the history and calls in the answer.

Source: ``ToolParam`` of anthropic-python 2.14; ``FunctionTool`` in OpenAI's document.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from hashlib import sha256

import msgspec
from attrs import frozen
from msgspec import UNSET, Raw
from typing_extensions import override

from ccproxy.api.common.decoding import Adjustments, read_body
from ccproxy.api.common.output_schema import object_schema
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Block, Tool, client_tool, tool_use_block
from ccproxy.core.stream import AgentToolUsed

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MOST_NAME_CHARACTERS = 128
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
# The digits of the hash that keeps two similar names apart.
_HASH_DIGITS = 8
_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
_NOTHING = Raw(b"{}")
# Arguments that are not an object become the value of this field of an object.
_ARGUMENTS = "arguments"
# OpenAI's names of a tool's fields.
RENAMED: Mapping[str, str] = {"input_schema": "parameters"}
# OpenAI's names of a call's fields.
RENAMED_CALL: Mapping[str, str] = {"input": "arguments"}

_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_WEB_SEARCH = "WebSearch"


class ToolKind(Enum):
    """The ``type`` of a client's tool."""

    FUNCTION = "function"
    CUSTOM = "custom"
    LOCAL_SHELL = "local_shell"
    SHELL = "shell"


@frozen
class ToolIdentity:
    """A tool in the client's terms.

    Attributes:
        name: without its namespace.
    """

    name: str
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None

    @property
    def path_name(self) -> str:
        """The name with the namespace; the API may not accept it."""
        return self.name if self.namespace is None else f"{self.namespace}__{self.name}"


class ToolTable:
    """The tools of one request, by the client's names and by the API's names.

    A name that the API accepts stays. In other names, characters that it does not
    accept are replaced; if the result is too long or is another tool's name, it ends
    with a hash of the client's name. So a tool keeps its name in every request of a
    conversation with the same tools.

    Args:
        tools: each with its path in the request.

    Raises:
        InvalidRequest: two tools have the same name, or a name is empty.
    """

    def __init__(self, tools: Sequence[tuple[ToolIdentity, str]] = ()) -> None:
        self._api_names: dict[tuple[str | None, str], str] = {}
        self._identities: dict[str, ToolIdentity] = {}
        for identity, at in tools:
            if not identity.name:
                raise InvalidRequest(f"`{at}.name` is empty", param=f"{at}.name")
        for identity, at in sorted(tools, key=_precedence):
            self._add(identity, at)

    def _add(self, identity: ToolIdentity, at: str) -> None:
        key = (identity.namespace, identity.name)
        if key in self._api_names:
            where = at.removesuffix(".function").removesuffix(".custom")
            raise InvalidRequest(
                f"`{where}`: there is another tool named {identity.path_name!r}",
                param=where,
            )
        name = _api_name(identity.path_name)
        if name in self._identities:
            name = _hashed(identity.path_name)
        self._api_names[key] = name
        self._identities[name] = identity

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ToolTable):
            return NotImplemented
        return self._identities == other._identities

    __hash__ = None  # type: ignore[assignment]

    def api_name(self, identity: ToolIdentity) -> str:
        """The API's name of a tool, which may be a tool of an earlier request."""
        key = (identity.namespace, identity.name)
        return self._api_names.get(key) or _api_name(identity.path_name)

    def identity(self, api_name: str) -> ToolIdentity:
        """The client's tool of an API's name; for an unknown name, a function."""
        return self._identities.get(api_name) or ToolIdentity(api_name)

    def api_names(self, name: str) -> tuple[str, ...]:
        """The API's names of the tools that a client may mean by a name.

        There may be several, because clients leave out the namespace.
        """
        exact = self._api_names.get((None, name))
        if exact is not None:
            return (exact,)
        return tuple(
            found
            for found, identity in self._identities.items()
            if name in (identity.name, identity.path_name)
        )


def _precedence(tool: tuple[ToolIdentity, str]) -> tuple[bool, bool, str]:
    """The order in which tools get their names, whatever their order in ``tools``.

    Names that the API accepts come first, so that no derived name is equal to such a
    name.
    """
    identity, _ = tool
    name = identity.path_name
    return _NAME.fullmatch(name) is None, identity.namespace is not None, name


def _api_name(name: str) -> str:
    cleaned = _NOT_IN_NAMES.sub("_", name)
    return cleaned if 0 < len(cleaned) <= _MOST_NAME_CHARACTERS else _hashed(name)


def _hashed(name: str) -> str:
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    cleaned = _NOT_IN_NAMES.sub("_", name)
    return f"{cleaned[: _MOST_NAME_CHARACTERS - _HASH_DIGITS - 1]}_{digest}"


def function_tool(
    api_name: str,
    description: str | None,
    parameters: Raw | None,
    at: str,
    *,
    renamed: Mapping[str, str] = RENAMED,
    **fields: object,
) -> Tool:
    """A tool whose arguments are JSON; its schema stays byte for byte.

    Args:
        api_name: the tool's name in the request's `ToolTable`.
        description: for the model.
        parameters: a JSON Schema of an object; None, ``null`` or ``{}`` for none.
        at: the path of the function in the request.
        renamed: the request's names of the tool's fields.
        fields: others of the tool, such as ``strict``; `UNSET` is left out.

    Raises:
        InvalidRequest: a schema that the Messages API does not accept.
    """
    where = f"{at}.{renamed.get('input_schema', 'input_schema')}"
    schema = object_schema(parameters, where, or_else=_NO_PARAMETERS)
    return client_tool(api_name, description, schema, at=at, renamed=renamed, **fields)


def function_call(
    identifier: str,
    api_name: str,
    arguments: Raw | str,
    at: str,
    adjustments: Adjustments,
    renamed: Mapping[str, str] = RENAMED_CALL,
) -> Block:
    """A call in the conversation's history.

    The API accepts only an object as input. Other arguments become the text in
    ``{"arguments": "…"}``.

    Args:
        identifier: the client's.
        api_name: the tool's name in the request's `ToolTable`.
        arguments: the text of a JSON object; or, undecoded, a JSON string of that text
            or the object itself.
        at: the path of the call in the request.
        adjustments: get the path of arguments that are sent in another form.
        renamed: the request's names of the call's fields, below ``at``.
    """
    text = _text_of(arguments)
    given, is_mended = _input_of(text)
    if is_mended:
        adjustments.adjust(f"{at}.{renamed.get('input', 'input')}")
    return tool_use_block(identifier, api_name, given, at, renamed)


def _text_of(arguments: Raw | str) -> str:
    if isinstance(arguments, str):
        return arguments
    raw = bytes(arguments)
    if raw[:1] == b'"':
        text: str = msgspec.json.decode(raw)
        return text
    return raw.decode()


def _input_of(text: str) -> tuple[Raw, bool]:
    """The object for some arguments, and whether it differs from them."""
    body, halves = read_body(text.encode())
    try:
        _decode_fields(body)
    except msgspec.ValidationError:
        # The text is JSON, but not an object.
        return _object_of(body, text), True
    except (msgspec.DecodeError, RecursionError):
        if not text.strip():
            return _NOTHING, True
        return _wrapped(text), True
    return Raw(body.strip()), bool(halves)


def _object_of(body: bytes, text: str) -> Raw:
    try:
        inner = msgspec.json.decode(body, type=str | None)
        if inner is None:
            return _NOTHING
        # Some clients encode the arguments twice.
        _decode_fields(inner)
    except (msgspec.DecodeError, RecursionError):
        return _wrapped(text)
    return Raw(inner.strip().encode())


def _wrapped(text: str) -> Raw:
    return Raw(msgspec.json.encode({_ARGUMENTS: text}))


def strict_field(strict: bool | None) -> object:
    """The field ``strict`` of a tool; false means the same as absent."""
    return True if strict else UNSET


class _Search(msgspec.Struct):
    query: str


_decode_search = msgspec.json.Decoder(_Search).decode


def agent_line(use: AgentToolUsed) -> str:
    """A line of text with the tool and its arguments."""
    return f"[{use.name} {use.arguments}]\n"


def searched(use: AgentToolUsed) -> str | None:
    """The query of a web search; None: the tool is not the web search."""
    if use.name != _WEB_SEARCH:
        return None
    try:
        return _decode_search(use.arguments).query
    except msgspec.DecodeError:
        return None
