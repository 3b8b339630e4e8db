"""Checks the MCP servers of ``--mcp-config``: the CLI connects to each of them."""

from collections.abc import AsyncIterator, Iterator, Sequence
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import deferLater

from ccproxy.claude.native.operator_servers import (
    PAUSE_SECONDS,
    ServerState,
    settled_servers,
)
from ccproxy.claude.process.launch import LaunchSpec
from ccproxy.claude.process.owner import ProcessExit
from ccproxy.claude.process.process import ClaudeProcess
from ccproxy.claude.protocol import codec as wire
from ccproxy.claude.protocol import records, requests
from ccproxy.claude.protocol.control import ControlChannel
from ccproxy.claude.worker.context import CLIContext
from ccproxy.cli.doctor.results import CheckResult, CheckStatus
from ccproxy.config.mcp_names import is_tool_of, mcp_tool
from ccproxy.core.errors import Cause, CCProxyError, ClaudeFailed

_NAME = "mcp"
# The CLI waits 30 s for a server.
_PATIENCE_SECONDS = 45.0


async def examine_servers(
    launch: LaunchSpec, context: CLIContext
) -> AsyncIterator[CheckResult]:
    """Start a CLI with the operator's servers, and yield a result for each server.

    Args:
        launch: how a process of native mode is started.
        context: starts the process, and is the clock.
    """
    if not launch.operator_servers:
        return
    try:
        states = await _states(launch, context)
    except (CCProxyError, wire.WireError) as error:
        yield CheckResult(CheckStatus.WRONG, _NAME, f"the claude CLI failed: {error}")
        return
    except DeferredTimeoutError:
        message = (
            "the claude CLI did not connect to the MCP servers within "
            f"{_PATIENCE_SECONDS:g} s"
        )
        yield CheckResult(
            CheckStatus.WRONG, _NAME, message, "check the servers in --mcp-config"
        )
        return
    for result in _results(launch, states):
        yield result


async def _states(launch: LaunchSpec, context: CLIContext) -> Sequence[ServerState]:
    connection = _Connection(launch, context)
    try:
        states = Deferred.fromCoroutine(connection.states())
        return await states.addTimeout(_PATIENCE_SECONDS, context.clock)
    finally:
        await connection.close()


def _results(
    launch: LaunchSpec, states: Sequence[ServerState]
) -> Iterator[CheckResult]:
    known = {state.name: state for state in states}
    for name in launch.operator_servers:
        state = known.get(name) or ServerState(name, "unknown to the CLI")
        if not state.is_connected:
            why = state.error or state.status
            message = f"the claude CLI cannot connect to the server {name}: {why}"
            yield CheckResult(
                CheckStatus.WRONG, _NAME, message, "check the server in --mcp-config"
            )
            continue
        yield _tools_result(launch, name, [tool.name for tool in state.tools])


def _tools_result(launch: LaunchSpec, server: str, tools: Sequence[str]) -> CheckResult:
    """Check that a connected server has the tools that ``--agent-tools`` names."""
    names = {f"{mcp_tool(server)}__{tool}" for tool in tools}
    whole = {mcp_tool(server), f"{mcp_tool(server)}__*"}
    wanted = {name for name in launch.agent_tools if is_tool_of(name, server)}
    missing = sorted(wanted - whole - names)
    listed = ", ".join(sorted(names)) or "none"
    if missing:
        message = f"the server {server} has no tool {', '.join(missing)}"
        return CheckResult(
            CheckStatus.WRONG, _NAME, message, f"its tools are: {listed}"
        )
    used = names if wanted & whole else wanted
    return CheckResult(
        CheckStatus.OK,
        _NAME,
        f"the server {server} is connected; the model may use "
        f"{', '.join(sorted(used)) or 'nothing, because it has no tools'}",
    )


class _Connection:
    """A CLI process that only connects to its MCP servers."""

    def __init__(self, launch: LaunchSpec, context: CLIContext) -> None:
        self._clock = context.clock
        self._controls = ControlChannel(lambda line: self._process.send(line))
        self._process = ClaudeProcess.spawn(
            launch, uuid4().hex, self, context.spawner, context.clock
        )

    async def states(self) -> Sequence[ServerState]:
        await self._controls.ask(requests.initialize(""))
        return await settled_servers(self._controls, self._pause)

    def close(self) -> "Deferred[None]":
        """Stop the CLI; fires when it is gone."""
        return self._process.terminate()

    def _pause(self) -> "Deferred[None]":
        return deferLater(self._clock, PAUSE_SECONDS)

    def lines_received(self, lines: list[bytes]) -> None:
        try:
            for line in lines:
                record = wire.decode(line)
                if isinstance(record, records.ControlResponse):
                    self._controls.receive(record)
        except wire.WireError as error:
            self.garbage_received(error)

    def garbage_received(self, error: wire.WireError) -> None:
        self._controls.abandon(
            ClaudeFailed(f"the claude CLI wrote {error}", cause=Cause.INVALID_OUTPUT)
        )

    def process_ended(self, end: ProcessExit) -> None:
        self._controls.abandon(
            ClaudeFailed(f"the claude CLI ended ({end})", cause=Cause.PROCESS_ENDED)
        )
