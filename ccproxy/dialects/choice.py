"""``tool_choice``, as both dialects have it: which tools may, or must, be called.

Chat completions nests what Responses has flat; apart from that they are one. Pure.

Source: ``ChatCompletionToolChoiceOption`` and ``ToolChoiceParam`` in OpenAI's document.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
from attrs import frozen

from ccproxy.conversation import Tool
from ccproxy.dialects.refusal import unsupported
from ccproxy.errors import InvalidRequest, MissingParameter

_T = TypeVar("_T")

_PARAM = "tool_choice"
_NAMED = ("function", "custom")


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


@frozen(kw_only=True)
class Choice:
    """What the client leaves to the model.

    Attributes:
        names: the tools that it may call; None: all of them.
        must_call: whether it has to call one of them.
    """

    names: tuple[str, ...] | None = None
    must_call: bool = False

    def narrowed(
        self, tools: Sequence[Tool], param: str = _PARAM, among: str = "tools"
    ) -> tuple[Tool, ...]:
        """The tools that are left to offer, in their order.

        Args:
            tools: all of them.
            param: the field that chooses.
            among: the field that they are in.

        Raises:
            InvalidRequest: a name that no tool has, or nothing to call.
        """
        known = {tool.name for tool in tools}
        for name in self.names or ():
            if name not in known:
                raise InvalidRequest(
                    f"`{param}`: there is no tool named {name!r} in `{among}`",
                    param=param,
                )
        left = tuple(t for t in tools if self.names is None or t.name in self.names)
        if self.must_call and not left:
            raise InvalidRequest(
                f"`{param}` demands a call, and there is nothing in `{among}` to call",
                param=param,
            )
        return left


def decode_choice(choice: object) -> Choice:
    """Read a ``tool_choice`` of either dialect, as JSON has it.

    Raises:
        ClientError: it is none of those that there are.
    """
    match choice:
        case None | "auto":
            return Choice()
        case "none":
            return Choice(names=())
        case "required" | "any":
            return Choice(must_call=True)
        case {"type": "allowed_tools", **rest}:
            return _allowed(rest)
        case {"type": str()}:
            return Choice(names=(_name(_convert(choice, _Wanted)),), must_call=True)
    raise InvalidRequest(
        f"`{_PARAM}` is `auto`, `none`, `required`, a tool, or `allowed_tools`",
        param=_PARAM,
    )


def _allowed(choice: Mapping[Any, Any]) -> Choice:
    if "allowed_tools" in choice:
        allowed = _convert(choice, _AllowedNested).allowed_tools
    else:
        allowed = _convert(choice, _Allowed)
    return Choice(
        names=tuple(_name(tool) for tool in allowed.tools),
        must_call=allowed.mode == "required",
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
        # These have no name of their own.
        return wanted.type
    unsupported(_PARAM, f"a call of {wanted.type!r} cannot be demanded")
