"""``tool_choice`` of OpenAI's APIs: which tools the model may or must call. Pure.

In chat completions, the tool's name is in a nested object. In Responses, it is not.
Some clients send the form of the Messages API. Both APIs accept all three forms.

Source: ``ChatCompletionToolChoiceOption`` and ``ToolChoiceParam`` in OpenAI's document.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from attrs import evolve, frozen

from ccproxy.api.common.fates import name_unread
from ccproxy.api.common.tools import ToolTable
from ccproxy.core.errors import InvalidRequest, MissingParameter, unsupported
from ccproxy.core.messages import Adjustments, Tool, ToolChoice

_T = TypeVar("_T")

_PARAM = "tool_choice"
_NAMED = ("function", "custom", "tool")


class _Named(msgspec.Struct):
    name: str


class _Wanted(msgspec.Struct):
    type: str
    name: str | None = None
    function: _Named | None = None
    custom: _Named | None = None


class _Allowed(msgspec.Struct):
    tools: list[_Wanted]
    mode: Literal["auto", "required"] = "auto"


class _AllowedNested(msgspec.Struct):
    allowed_tools: _Allowed


class _AnyForm(_Wanted):
    """The fields of all forms of ``tool_choice``."""

    mode: str | None = None
    tools: list[_Wanted] | None = None
    allowed_tools: _Allowed | None = None
    disable_parallel_tool_use: bool | None = None


@frozen(kw_only=True)
class OpenAIToolChoice:
    """A decoded ``tool_choice``.

    Attributes:
        mode: as ``type`` of `ToolChoice`.
        name: the client's name of the tool that must be called.
        allowed: the client's names of the tools that may be called; None: all.
        one_call: whether the choice says that only one tool may be called at a time.
    """

    mode: Literal["auto", "any", "tool", "none"] = "auto"
    name: str | None = None
    allowed: tuple[str, ...] | None = None
    one_call: bool = False

    def applied(
        self,
        tools: Sequence[Tool],
        table: ToolTable,
        *,
        one_call: bool = False,
        param: str = _PARAM,
        among: str = "tools",
    ) -> tuple[tuple[Tool, ...], ToolChoice | None]:
        """Apply the choice to the tools of a request.

        Args:
            tools: all tools of the request.
            table: the names of the tools.
            one_call: whether the model may call only one tool at a time.
            param: the name of the field with the choice, for errors.
            among: the name of the field with the tools, for errors.

        Returns:
            The tools that the model may call, and the ``tool_choice`` of the Messages
            API. The choice ``none`` keeps all tools, because the prompt cache depends
            on them.

        Raises:
            InvalidRequest: no tool has a chosen name, or a call is required and there
                is no tool.
        """
        one_call = one_call or self.one_call
        left = tuple(tools)
        if self.allowed is not None:
            names = self._api_names(self.allowed, table, param, among)
            left = tuple(tool for tool in tools if tool.value.name in names)
        if self.name is not None:
            # This check comes first, because its error is the clearest.
            [name, *_] = self._api_names((self.name,), table, param, among)
            return left, _choice("tool", name, one_call=one_call)
        if left:
            return left, _choice(self.mode, None, one_call=one_call)
        if self.mode == "any":
            raise InvalidRequest(
                f"`{param}` requires a call, but `{among}` has no tool to call",
                param=param,
            )
        return left, None

    @staticmethod
    def _api_names(
        names: Sequence[str], table: ToolTable, param: str, among: str
    ) -> Sequence[str]:
        found: list[str] = []
        for name in names:
            meant = table.api_names(name)
            if not meant:
                raise InvalidRequest(
                    f"`{param}`: there is no tool named {name!r} in `{among}`",
                    param=param,
                )
            found += meant
        return found


def _choice(
    mode: Literal["auto", "any", "tool", "none"], name: str | None, *, one_call: bool
) -> ToolChoice | None:
    if mode == "none":
        return ToolChoice("none")
    if mode == "auto" and not one_call:
        return None
    return ToolChoice(mode, name, disable_parallel_tool_use=True if one_call else None)


def decode_choice(choice: object, adjustments: Adjustments) -> OpenAIToolChoice:
    """Decode a ``tool_choice``.

    Args:
        choice: the field's JSON value, decoded to Python objects.
        adjustments: records the paths of fields that have no effect.

    Raises:
        ClientError: the form of the choice is unknown.
    """
    if not isinstance(choice, dict):
        return _decode(choice)
    name_unread(msgspec.json.encode(choice), _AnyForm, adjustments, at=_PARAM)
    one_call = choice.get("disable_parallel_tool_use") is True
    return evolve(_decode(choice), one_call=one_call)


def _decode(choice: Any) -> OpenAIToolChoice:
    match choice:
        case None | "auto" | {"type": "auto"}:
            return OpenAIToolChoice()
        case "none" | {"type": "none"}:
            return OpenAIToolChoice(mode="none")
        case "required" | "any" | {"type": "required" | "any"}:
            return OpenAIToolChoice(mode="any")
        case {"type": "allowed_tools", **rest}:
            return _allowed(rest)
        case {"type": str()}:
            return OpenAIToolChoice(mode="tool", name=_name(_convert(choice, _Wanted)))
        case {"name": str()} | {"function": dict()} | {"custom": dict()}:
            whole: Mapping[Any, Any] = {"type": "function", **choice}
            return OpenAIToolChoice(mode="tool", name=_name(_convert(whole, _Wanted)))
    raise InvalidRequest(
        f"`{_PARAM}` must be `auto`, `none`, `required`, a tool, or `allowed_tools`",
        param=_PARAM,
    )


def _allowed(choice: Mapping[Any, Any]) -> OpenAIToolChoice:
    if "allowed_tools" in choice:
        allowed = _convert(choice, _AllowedNested).allowed_tools
    else:
        allowed = _convert(choice, _Allowed)
    return OpenAIToolChoice(
        mode="any" if allowed.mode == "required" else "auto",
        allowed=tuple(_name(tool) for tool in allowed.tools),
    )


def _convert(choice: object, kind: type[_T]) -> _T:
    try:
        return msgspec.convert(choice, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"`{_PARAM}`: {error}", param=_PARAM) from None


def _name(wanted: _Wanted) -> str:
    nested = wanted.function or wanted.custom
    name = nested.name if nested else wanted.name
    if name is not None:
        return name
    if wanted.type in _NAMED:
        raise MissingParameter(f"`{_PARAM}.name` is missing", param=_PARAM)
    if wanted.type in ("local_shell", "shell"):
        # These tools have no name; their type is used as a name.
        return wanted.type
    unsupported(_PARAM, f"a call of {wanted.type!r} cannot be required")
