"""Sets up a new CLI of native mode: initialization, settings, history and question.

The initialization has the system prompt, the tools and the schema. Then the settings
are sent, and then the turns. The CLI has to acknowledge each of the user's turns before
the next turn of the assistant is written; otherwise their order would change.

Source: docs/claude-cli-protocol.md, "Input", "History" and "Tools".
"""

from collections.abc import Callable, Sequence
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ccproxy.claude.body.options import NEVER_SENT
from ccproxy.claude.native import history
from ccproxy.claude.native.mcp_server import MCPServer, offer
from ccproxy.claude.native.operator_servers import PAUSE_SECONDS, settled_servers
from ccproxy.claude.native.prompt import Prompt, Role
from ccproxy.claude.native.structured_output import understood
from ccproxy.claude.native.tool_calls import reminder, system_prompt, tool_choice
from ccproxy.claude.process.binary import check_version, too_old
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.protocol import codec as wire
from ccproxy.claude.protocol import records, requests
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.worker.context import CLIContext
from ccproxy.config.claude_settings import NativeSettings
from ccproxy.config.mcp_names import mcp_tool
from ccproxy.core.errors import CCProxyError, ClaudeFailed


class SessionSetup:
    """Sets up one CLI and sends the question.

    Args:
        controls: sends control requests to the CLI.
        send: writes a line to the CLI.
        tools: offers the client's tools.
        context: clock, limits and callbacks.
        settings: the operator's settings.
        launch: how the CLI was started.
        lost: called if the CLI refuses a setting after the question was sent.
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
        self._launch = launch
        self._model = launch.model
        self._waiter: Deferred[None] | None = None

    async def open(self, prompt: Prompt) -> records.InitializeAnswer:
        """Initialize a new CLI with a prompt's system prompt, tools and schema.

        Raises:
            CCProxyError: the CLI is too old, ended, or refuses.
            WireError: the CLI's answer has an unknown shape.
        """
        await self._refuse_old()
        self._tools.offer(prompt.tools)
        form = (
            {} if prompt.schema is None else {"jsonSchema": understood(prompt.schema)}
        )
        system = system_prompt(prompt, forced=self._settings.forward_tool_choice)
        request = requests.initialize(system, {**offer(prompt.tools), **form})
        reply = await self._controls.ask(request)
        answer = wire.decode_initialize(reply.response.response)
        if answer.claude_code_version is not None:
            check_version(answer.claude_code_version)
        self._context.on_initialized(answer, self._launch)
        return answer

    async def _refuse_old(self) -> None:
        """Check the CLI's version before any data of a client is sent.

        The binary may have been replaced since its examination. Most versions do not
        report their number. But a version that is too old accepts an empty system
        prompt, which all other versions refuse.

        Raises:
            ClaudeUnavailable: the CLI is too old.
        """
        try:
            await self._controls.ask(requests.set_system_prompt(""))
        except ClaudeFailed as error:
            if type(error) is not ClaudeFailed:
                # The process is lost.
                raise
            return
        raise too_old("")

    async def put(self, prompt: Prompt) -> None:
        """Send settings, history and question; returns when all is written.

        Raises:
            CCProxyError: the CLI has ended, or was stopped.
        """
        self._configure(prompt, await self._hidden_tools())
        last = len(prompt.messages) - 1
        for number, message in enumerate(prompt.messages):
            ask = number == last
            self._send(history.turn(message, str(uuid4()), model=self._model, ask=ask))
            if message.role is Role.USER and not ask:
                await self._acknowledged()

    def remind(self, prompt: Prompt) -> None:
        """Ask the model for a required call once more."""
        said = reminder(prompt)
        self._send(history.turn(said, str(uuid4()), model=self._model, ask=True))

    async def _hidden_tools(self) -> Sequence[str]:
        """The tools of the operator's servers that ``--agent-tools`` does not name."""
        if not self._launch.has_limited_servers:
            return ()
        states = await settled_servers(self._controls, self._pause)
        return [
            f"{mcp_tool(state.name)}__{tool.name}"
            for state in states
            for tool in state.tools
            if self._launch.hides(state.name, tool.name)
        ]

    async def _pause(self) -> None:
        timer = self._context.clock.callLater(PAUSE_SECONDS, self.acknowledge)
        try:
            await self._acknowledged()
        finally:
            if timer.active():
                timer.cancel()

    def _configure(self, prompt: Prompt, denied: Sequence[str]) -> None:
        body: dict[str, object] = {
            name: value
            for name, value in self._launch.operator_body.items()
            if name not in NEVER_SENT
        }
        body |= prompt.sampling
        if prompt.stop:
            body["stop_sequences"] = list(prompt.stop)
        choice = tool_choice(prompt, forced=self._settings.forward_tool_choice)
        if choice is not None:
            body["tool_choice"] = choice
        self._model = self._context.full_id(prompt.model)
        settings = requests.apply_flag_settings(
            model=prompt.model,
            effort=prompt.effort.value if prompt.effort else None,
            max_tokens=prompt.max_tokens,
            extra_body=body,
            denied=denied,
        )
        # The CLI reads its input in order, so the question need not wait.
        self._controls.ask(settings).addErrback(self._lost)

    async def _acknowledged(self) -> None:
        self._waiter = Deferred()
        await self._waiter

    def acknowledge(self) -> None:
        """Note that the CLI has acknowledged a turn."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    def abandon(self, error: CCProxyError) -> None:
        """Make a running `put` fail."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.errback(error)
            # The coroutine that waited has got the error.
            waiter.addErrback(lambda failure: failure.trap(CCProxyError) and None)
