"""Decodes the model's tool calls, and asks the model for required calls. Pure.

==================  ==========================================================
call of             what the client gets
==================  ==========================================================
a client's tool     the call, its arguments streamed; the call ends the turn
StructuredOutput    the answer by a schema: the input of the call as text
any other tool      Claude Code runs the tool within the turn; the client gets
                    the whole call if the operator wants it
==================  ==========================================================

Current models think before they answer, and the API then refuses a forced tool choice.
So the system prompt asks for the call. If the model answers with text only, a reminder
follows.
"""

from collections.abc import Collection, Mapping

from ccproxy.claude.native.block_writer import BlockWriter, HeldText
from ccproxy.claude.native.prompt import Prompt, PromptMessage, Role, TextBlock
from ccproxy.claude.native.structured_output import TOOL, StructuredAnswer
from ccproxy.config.mcp_names import CLIENT_SERVER, mcp_tool
from ccproxy.core.blocks import Block, RedactedThinking, ToolUse
from ccproxy.core.stream import Event, Restarted

_CLIENT_PREFIX = f"{mcp_tool(CLIENT_SERVER)}__"
_TWICE = "the model gave two answers"


class ToolCallDecoder:
    """Decodes the blocks of a message other than text and thinking.

    Args:
        tool_names: the client's tools.
        answer: the answer by a schema; None: no schema was given.
        text: the text before a call.
        blocks: makes events.
        reports_own: whether calls of Claude Code's own tools are sent.

    Attributes:
        has_called: whether the message calls a client's tool.
        has_used_own: whether any message of the turn calls a tool of Claude Code.
    """

    def __init__(
        self,
        tool_names: Collection[str],
        answer: StructuredAnswer | None,
        text: HeldText,
        blocks: BlockWriter,
        *,
        reports_own: bool,
    ) -> None:
        self._tool_names = tool_names
        self._answer = answer
        self._text = text
        self._blocks = blocks
        self._reports_own = reports_own
        self._model = ""
        self._is_calling = False
        self._own: tuple[str, list[str]] | None = None
        self._has_own = False
        self.has_called = False
        self.has_used_own = False

    @property
    def are_clients_only(self) -> bool:
        """Whether the message has calls, and all are of the client's tools."""
        return self.has_called and not self._has_own

    @property
    def is_hidden(self) -> bool:
        """Whether the current block is a call that the client does not get."""
        return self._own is not None or (
            self._answer is not None and self._answer.is_open
        )

    def begin_message(self, model: str) -> None:
        """Note that a message begins."""
        self._model = model
        self._is_calling = self.has_called = self._has_own = False
        self._own = None

    def open(self, block: Block) -> list[Event]:
        """Begin a block."""
        events = self.close()
        match block.value:
            case RedactedThinking(data) if data:
                return [*events, *self._blocks.redacted_thinking(data)]
            case ToolUse(identifier, name):
                return [*events, *self._call(identifier, name)]
        return events

    def _call(self, identifier: str, name: str) -> list[Event]:
        # A version of the CLI may show the client's tools with this prefix.
        name = name.removeprefix(_CLIENT_PREFIX)
        if name in self._tool_names:
            self._is_calling = self.has_called = True
            return [*self._text.flush(), *self._blocks.call(identifier, name)]
        self._has_own = True
        if self._answer is None or name != TOOL:
            self.has_used_own = True
            self._own = (name, [])
            return []
        if self._answer.open(identifier):
            return []
        # If a message has two answers, the second one counts.
        restarted = self._blocks.restart(Restarted(_TWICE))
        return [*restarted, *self._blocks.message(self._model)]

    def arguments(self, json: str) -> list[Event]:
        """Take a piece of the open call's input."""
        if self._is_calling:
            return self._blocks.arguments(json)
        if self._own is not None:
            self._own[1].append(json)
        elif self._answer is not None and self._answer.feed(json):
            return self._blocks.text(json)
        return []

    def close(self) -> list[Event]:
        """End the block."""
        self._is_calling = False
        if self._answer is not None:
            self._answer.close()
        own, self._own = self._own, None
        if own is None or not self._reports_own:
            return []
        name, pieces = own
        return self._blocks.agent_tool(name, "".join(pieces))


def system_prompt(prompt: Prompt, *, forced: bool) -> str:
    """The system prompt, with the required call at its end.

    Args:
        prompt: the request.
        forced: whether ``tool_choice`` itself forces the call.
    """
    if not prompt.must_call or forced:
        return prompt.system
    parts = [prompt.system, f"{_instruction(prompt)} Do not answer in prose."]
    return "\n\n".join(part for part in parts if part)


def reminder(prompt: Prompt) -> PromptMessage:
    """The user's turn that reminds the model of the required call."""
    return PromptMessage(
        Role.USER, (TextBlock(f"{_instruction(prompt)} Make the call now."),)
    )


def tool_choice(prompt: Prompt, *, forced: bool) -> Mapping[str, object] | None:
    """The API's ``tool_choice``; None: the field is not sent.

    ``disable_parallel_tool_use`` is sent to every model, because no model refuses it.
    """
    if not prompt.tools:
        return None
    choice: dict[str, object] = {}
    if forced and prompt.must_call and len(prompt.tools) == 1:
        choice = {"type": "tool", "name": prompt.tools[0].name}
    elif forced and prompt.must_call:
        choice = {"type": "any"}
    if not prompt.parallel_calls:
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return choice or None


def _instruction(prompt: Prompt) -> str:
    names = [f"`{tool.name}`" for tool in prompt.tools]
    if len(names) == 1:
        return f"Your next answer has to be a call of the tool {names[0]}."
    return f"Your next answer has to be a call of one of the tools {', '.join(names)}."
