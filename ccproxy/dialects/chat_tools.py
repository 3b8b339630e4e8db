"""Tools and calls in requests for chat completions: functions, customs, old functions.

Pure. What `ccproxy.dialects.chat_calls` is for answers.

Source: ``ChatCompletionTool``, ``CustomToolChatCompletions``,
``ChatCompletionFunctions`` and ``ChatCompletionMessageToolCalls`` in OpenAI's document.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from attrs import frozen

from ccproxy.conversation import Tool, ToolUseBlock
from ccproxy.dialects import tools
from ccproxy.dialects.chat_calls import CallForms
from ccproxy.dialects.choice import Choice, decode_choice
from ccproxy.dialects.free_text import custom_call, custom_tool
from ccproxy.dialects.refusal import unsupported
from ccproxy.errors import InvalidRequest, MissingParameter

_WEB_SEARCH = "web_search"


class Function(msgspec.Struct):
    """A function that is offered, of either style."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class _Grammar(msgspec.Struct):
    syntax: str
    definition: str


class _CustomFormat(msgspec.Struct):
    type: str
    grammar: _Grammar | None = None


class _Custom(msgspec.Struct):
    name: str
    description: str | None = None
    format: _CustomFormat | None = None


class OfferedTool(msgspec.Struct):
    """An entry of ``tools``."""

    type: str
    function: Function | None = None
    custom: _Custom | None = None


class CalledFunction(msgspec.Struct):
    """A function that was called."""

    name: str
    arguments: str = ""


class _CalledCustom(msgspec.Struct):
    name: str
    input: str = ""


class Call(msgspec.Struct):
    """An entry of a message's ``tool_calls``."""

    id: str
    function: CalledFunction | None = None
    custom: _CalledCustom | None = None
    type: str = "function"


@frozen(kw_only=True)
class Offer:
    """What the model may call.

    Attributes:
        tools: what is left of them by the client's choice.
        ignored: the paths of those that it cannot be offered.
    """

    tools: tuple[Tool, ...]
    must_call: bool
    forms: CallForms
    ignored: tuple[str, ...] = ()


def offer(
    given: Sequence[OfferedTool], choice: object, *, web_search: bool = False
) -> Offer:
    """What ``tools`` and ``tool_choice`` say.

    Args:
        given: the tools.
        choice: the choice, as JSON has it.
        web_search: whether the model can search the web anyway.

    Raises:
        ClientError: with ``param``.
    """
    found: list[Tool] = []
    customs: set[str] = set()
    ignored: list[str] = []
    for index, tool in enumerate(given):
        at = f"tools[{index}]"
        if tool.type.startswith(_WEB_SEARCH):
            ignored += () if web_search else (at,)
        elif tool.type == "custom":
            found.append(_custom(tool.custom, f"{at}.custom"))
            customs.add(found[-1].name)
        else:
            found.append(_function(tool, at))
    tools.check_names(found, "tools")
    chosen = decode_choice(choice)
    return Offer(
        tools=chosen.narrowed(found),
        must_call=chosen.must_call,
        forms=CallForms(customs=frozenset(customs)),
        ignored=tuple(ignored),
    )


def offer_functions(given: Sequence[Function], choice: object) -> Offer:
    """What ``functions`` and ``function_call`` say.

    Raises:
        ClientError: with ``param``.
    """
    found = [
        tools.offered(f.name, f.description, f.parameters, f"functions[{n}]")
        for n, f in enumerate(given)
    ]
    tools.check_names(found, "functions")
    match choice:
        case None | "auto" | "none":
            chosen = Choice(names=() if choice == "none" else None)
        case {"name": str(name)}:
            chosen = Choice(names=(name,), must_call=True)
        case _:
            raise InvalidRequest(
                '`function_call` is `auto`, `none`, or `{"name": …}`',
                param="function_call",
            )
    return Offer(
        tools=chosen.narrowed(found, "function_call", "functions"),
        must_call=chosen.must_call,
        forms=CallForms(is_old=True),
    )


def _function(tool: OfferedTool, at: str) -> Tool:
    if tool.type != "function":
        unsupported(
            f"{at}.type", f"{tool.type!r} is not offered; send functions or customs"
        )
    function = _present(tool.function, f"{at}.function")
    about = (function.name, function.description, function.parameters)
    return tools.offered(*about, f"{at}.function")


def _custom(given: _Custom | None, at: str) -> Tool:
    custom = _present(given, at)
    form = custom.format
    if form is None or form.type == "text":
        return custom_tool(custom.name, custom.description, None, None, at)
    if form.type != "grammar":
        unsupported(f"{at}.format.type", f"{form.type!r} is neither text nor grammar")
    grammar = _present(form.grammar, f"{at}.format.grammar")
    about = (custom.name, custom.description)
    return custom_tool(*about, grammar.syntax, grammar.definition, at)


def called(call: Call, at: str) -> ToolUseBlock:
    """A call of the history.

    Raises:
        ClientError: with ``param``.
    """
    if call.custom is not None:
        return custom_call(call.id, call.custom.name, call.custom.input)
    function = _present(call.function, f"{at}.function")
    return tools.called(call.id, function.name, function.arguments, f"{at}.function")


def _present(value: Any, param: str) -> Any:
    if value is None:
        raise MissingParameter(f"`{param}` is missing", param=param)
    return value


class OldCalls:
    """Calls of the old style, which have no ids: each gets one of ours."""

    def __init__(self) -> None:
        self._made = 0
        self._waiting: str | None = None

    def called(self, call: CalledFunction, at: str) -> ToolUseBlock:
        """A call of the history.

        Raises:
            InvalidRequest: its arguments are no JSON object.
        """
        self._made += 1
        self._waiting = f"function-{self._made}"
        return tools.called(self._waiting, call.name, call.arguments, at)

    def result_of(self, at: str) -> str:
        """The id of the call whose result a message of role ``function`` is.

        Raises:
            InvalidRequest: there is none.
        """
        identifier, self._waiting = self._waiting, None
        if identifier is None:
            raise InvalidRequest(
                f"`{at}`: there is no `function_call` before this result",
                param=f"{at}.role",
            )
        return identifier
