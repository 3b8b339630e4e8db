"""What is said to a CLI until it answers: set-up, history, question.

It is initialized with all that the question says beside its turns. Then come the
settings, and the turns: each of the user's has to be acknowledged before the
assistant's that follows is written, or that would land in front of it.

Source: docs/claude-cli-protocol.md, "Input", "History" and "Tools".
"""

from collections.abc import Callable
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.claude.body.fields import NEVER_SENT
from ccproxy.claude.native import history
from ccproxy.claude.native import tool_choice as demand
from ccproxy.claude.native.mcp_server import MCPServer, offer
from ccproxy.claude.native.prompt import Prompt, Role
from ccproxy.claude.native.structured_output import understood
from ccproxy.claude.process.launch import LaunchSpec, check_version, too_old
from ccproxy.claude.protocol import codec as wire
from ccproxy.claude.protocol import records, requests
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.worker.context import CLIContext
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.core.errors import CCProxyError, ClaudeFailed


class SessionSetup:
    """Everything that one CLI is told beside the results of its calls.

    Args:
        send: writes a line to the CLI.
        launch: how it was started.
        lost: told of a setting that the CLI refused while the question was under way.
    """

    def __init__(
        self,
        controls: ControlChannel,
        send: Callable[[bytes], None],
        tools: MCPServer,
        context: CLIContext,
        settings: NativeSettings,
        launch: LaunchSpec,
        lost: Callable[[Failure], None],
    ) -> None:
        self._controls = controls
        self._send = send
        self._tools = tools
        self._context = context
        self._settings = settings
        self._lost = lost
        self._model = launch.model
        self._operator_body = launch.operator_body
        self._waiter: Deferred[None] | None = None

    async def open(self, prompt: Prompt) -> records.InitializeAnswer:
        """Initialize a new CLI with what a prompt says beside its turns, for good.

        Raises:
            CCProxyError: it is too old, died, or refuses.
            WireError: it speaks another language.
        """
        await self._refuse_old()
        self._tools.offer(prompt.tools)
        form = (
            {} if prompt.schema is None else {"jsonSchema": understood(prompt.schema)}
        )
        system = demand.system_prompt(prompt, native=self._settings.forward_tool_choice)
        request = requests.initialize(system, {**offer(prompt.tools), **form})
        told = await self._controls.ask(request)
        answer = wire.decode_initialize(told.response.response)
        if answer.claude_code_version is not None:
            check_version(answer.claude_code_version)
        self._context.on_initialized(answer)
        return answer

    async def _refuse_old(self) -> None:
        """Make sure, before it is told anything of a client's, that it is new enough.

        Most do not tell their version. Those that are too old take an empty system
        prompt, which all others refuse. The binary may have been replaced since it was
        examined.

        Raises:
            ClaudeUnavailable: it is too old.
        """
        try:
            await self._controls.ask(requests.set_system_prompt(""))
        except ClaudeFailed as error:
            if type(error) is not ClaudeFailed:
                # It is lost.
                raise
            return
        raise too_old("")

    async def put(self, prompt: Prompt) -> None:
        """Put a question to a CLI that was opened for it; done when it is written.

        Raises:
            CCProxyError: the CLI refuses something, or is gone.
            WireError: it speaks another language.
        """
        self._configure(prompt)
        last = len(prompt.messages) - 1
        for number, message in enumerate(prompt.messages):
            ask = number == last
            self._send(history.turn(message, str(uuid4()), model=self._model, ask=ask))
            if message.role is Role.USER and not ask:
                await self._acknowledged()

    def remind(self, prompt: Prompt) -> None:
        """Ask for a call once more."""
        said = demand.reminder(prompt)
        self._send(history.turn(said, str(uuid4()), model=self._model, ask=True))

    def _configure(self, prompt: Prompt) -> None:
        body: dict[str, object] = {
            name: value
            for name, value in self._operator_body.items()
            if name not in NEVER_SENT
        }
        body |= prompt.sampling
        if prompt.stop:
            body["stop_sequences"] = list(prompt.stop)
        choice = demand.tool_choice(prompt, native=self._settings.forward_tool_choice)
        if choice is not None:
            body["tool_choice"] = choice
        self._model = self._context.full_id(prompt.model)
        settings = requests.apply_flag_settings(
            model=prompt.model,
            effort=prompt.effort.value if prompt.effort else None,
            max_tokens=prompt.max_tokens,
            extra_body=body,
        )
        # The CLI works its input off in order, so the question need not wait.
        self._controls.ask(settings).addErrback(self._lost)

    async def _acknowledged(self) -> None:
        self._waiter = Deferred()
        await self._waiter

    def acknowledge(self) -> None:
        """Go on: the CLI has taken what it was told."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def abandon(self, error: CCProxyError) -> None:
        """Give up."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.errback(error)
            # Whoever still waited has heard of it.
            waiter.addErrback(lambda failure: failure.trap(CCProxyError) and None)
