"""Translates tools and calls between OpenAI's APIs and the Messages API. Pure.

OpenAI's APIs allow more names of tools than the Messages API, have namespaces, and have
tools whose input is free text. The `ToolTable` of a request gives each of the client's
tools a name that the Messages API accepts, and finds the client's tool by that name. It
is used for tool definitions, ``tool_choice``, and calls in the history and the answer.

Source: ``ToolParam`` of anthropic-python 2.14; ``FunctionTool`` in OpenAI's document.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

import msgspec
from attrs import frozen
from msgspec import UNSET, Raw
from typing_extensions import override

from ccproxy.api.common.decoding import is_null
from ccproxy.core.blocks import Block, tool_use_block
from ccproxy.core.errors import InvalidRequest
from ccproxy.core.messages import Adjustments, Tool, client_tool
from ccproxy.core.stream import AgentToolUsed
from ccproxy.core.tool_calls import arguments_object, hashed_name, is_sound, sound_name

_NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
# The Messages API's names of a tool's fields, and OpenAI's names.
RENAMED: Mapping[str, str] = {"input_schema": "parameters"}
# The Messages API's names of a call's fields, and OpenAI's names.
RENAMED_CALL: Mapping[str, str] = {"input": "arguments"}

_WEB_SEARCH = "WebSearch"


class ToolKind(Enum):
    """The ``type`` of a client's tool."""

    FUNCTION = "function"
    CUSTOM = "custom"
    LOCAL_SHELL = "local_shell"
    SHELL = "shell"


@frozen
class ToolIdentity:
    """A client's tool: its name, kind and namespace.

    Attributes:
        name: the name without the namespace.
    """

    name: str
    kind: ToolKind = ToolKind.FUNCTION
    namespace: str | None = None

    @property
    def path_name(self) -> str:
        """The name with the namespace. The Messages API may not accept it."""
        return self.name if self.namespace is None else f"{self.namespace}__{self.name}"


class ToolTable:
    """Maps the client's tools of one request to names of the Messages API, and back.

    A name that the API accepts does not change. In any other name, characters that the
    API does not accept are replaced. If the result is too long, or is the name of
    another tool or of a tool of the provider, its end is replaced by a hash of the
    client's name. The name of a tool depends on the tools only, so it is the same in
    each request of a conversation.

    Args:
        tools: the client's tools, each with its path in the request.
        reserved: names of the provider's tools, which no tool of the client gets.

    Raises:
        InvalidRequest: two tools have the same name, or a name is empty.
    """

    def __init__(
        self,
        tools: Sequence[tuple[ToolIdentity, str]] = (),
        reserved: Collection[str] = (),
    ) -> None:
        self._reserved = reserved
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
        name = sound_name(identity.path_name)
        if name in self._identities or name in self._reserved:
            name = hashed_name(identity.path_name)
        self._api_names[key] = name
        self._identities[name] = identity

    @override
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ToolTable):
            return NotImplemented
        return self._identities == other._identities

    __hash__ = None  # type: ignore[assignment]

    def api_name(self, identity: ToolIdentity) -> str:
        """The API's name of a tool of this request or of an earlier request."""
        key = (identity.namespace, identity.name)
        return self._api_names.get(key) or sound_name(identity.path_name)

    def called_name(
        self, identity: ToolIdentity, at: str, adjustments: Adjustments
    ) -> str:
        """The API's name of the tool that a call in the history calls.

        Args:
            identity: the tool, of this request or of an earlier request.
            at: the path of the name in the call.
            adjustments: records the path if the name is changed and the tool is not a
                tool of this request.
        """
        name = self.api_name(identity)
        is_here = (identity.namespace, identity.name) in self._api_names
        if not is_here and name != identity.path_name:
            adjustments.adjust(at)
        return name

    def identity(self, api_name: str) -> ToolIdentity:
        """The client's tool for a name of the API; a function if it is unknown."""
        return self._identities.get(api_name) or ToolIdentity(api_name)

    def api_names(self, name: str) -> tuple[str, ...]:
        """The API's names of the tools that a client can mean by a name.

        There can be several, because clients omit the namespace.
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
    """The sort key of tools in a `ToolTable`.

    Tools whose names the API accepts come first, so that no derived name takes such a
    name.
    """
    identity, _ = tool
    name = identity.path_name
    return not is_sound(name), identity.namespace is not None, name


def function_tool(
    api_name: str,
    description: str | None,
    parameters: Raw | None,
    at: str,
    *,
    renamed: Mapping[str, str] = RENAMED,
    **fields: object,
) -> Tool:
    """Translate a tool whose arguments are a JSON object. Its schema is not changed.

    `ccproxy.claude.schemas.arguments` corrects or refuses the schema later.

    Args:
        api_name: the tool's name in the request's `ToolTable`.
        description: the client's description.
        parameters: a JSON Schema of an object; None or ``null``: no parameters.
        at: the path of the function in the request.
        renamed: the request's names of the tool's fields.
        fields: other fields of the tool, such as ``strict``; `UNSET` is left out.
    """
    if parameters is None or is_null(parameters):
        parameters = _NO_PARAMETERS
    return client_tool(
        api_name, description, parameters, at=at, renamed=renamed, **fields
    )


def function_call(
    identifier: str,
    api_name: str,
    arguments: Raw | str,
    at: str,
    adjustments: Adjustments,
    renamed: Mapping[str, str] = RENAMED_CALL,
) -> Block:
    """Translate a call in the history.

    The API accepts only an object as input: see `arguments_object`.

    Args:
        identifier: the client's id of the call.
        api_name: the tool's name in the request's `ToolTable`.
        arguments: as text: the JSON of the arguments. As undecoded JSON: the arguments,
            or a JSON string that contains the JSON of the arguments.
        at: the path of the call in the request.
        adjustments: records the path of arguments that are sent in another form.
        renamed: the request's names of the call's fields, below ``at``.
    """
    given, is_exact = arguments_object(text_of(arguments))
    if not is_exact:
        adjustments.adjust(f"{at}.{renamed.get('input', 'input')}")
    return tool_use_block(identifier, api_name, given, at, renamed)


def text_of(arguments: Raw | str) -> str:
    """The text of a call's arguments, given as for `function_call`."""
    if isinstance(arguments, str):
        return arguments
    raw = bytes(arguments)
    if raw[:1] == b'"':
        text: str = msgspec.json.decode(raw)
        return text
    return raw.decode()


def strict_field(strict: bool | None) -> object:
    """The value of a tool's ``strict``; `UNSET` if it is not true."""
    return True if strict else UNSET


class _Search(msgspec.Struct):
    query: str


_decode_search = msgspec.json.Decoder(_Search).decode


def agent_line(use: AgentToolUsed) -> str:
    """A line of text about a call of Claude Code's own tool."""
    return f"[{use.name} {use.arguments}]\n"


def searched(use: AgentToolUsed) -> str | None:
    """The query of a web search; None: the call is not a web search."""
    if use.name != _WEB_SEARCH:
        return None
    try:
        return _decode_search(use.arguments).query
    except msgspec.DecodeError:
        return None
