"""The runtime directory, and how to start CLI processes in it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve
from msgspec import Raw
from msgspec.json import encode
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort

from ccproxy.claude.body.options import CACHE_TTL
from ccproxy.claude.process.binary import find_claude
from ccproxy.claude.process.launch import (
    LaunchSpec,
    child_environment,
    exec_prefix,
    operator_body,
)
from ccproxy.claude.process.runtime_dir import RuntimeDirectory
from ccproxy.config.mcp_names import CLIENT_SERVER
from ccproxy.config.mcp_servers import OperatorServer, read_mcp_servers
from ccproxy.config.settings import Settings
from ccproxy.core.errors import Cause, ClaudeUnavailable, StorageFailed
from ccproxy.server.demo import demo_script
from ccproxy.server.fake_upstream import FakeMessagesAPI, MessagesSite
from ccproxy.server.probing import ProbeUpstream
from ccproxy.store.engine import store_url

# Betas of the Messages API that every process sends, besides the CLI's own betas.
BETAS: tuple[str, ...] = ()

# The CLI is searched along PATH again after this time. A search takes 0.1 ms, and each
# request needs the result several times.
_SEARCH_SECONDS = 1.0
_CLOSED = "the proxy's service has not been started"


class Runtime:
    """The runtime directory and launch specs; with ``--demo``, the scripted API.

    Args:
        settings: the operator's settings.
        reactor: opens the port of the scripted API.
        environment: the proxy's variables; processes inherit those of an allow-list.
    """

    def __init__(
        self, settings: Settings, reactor: Any, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        ttl = settings.cache_ttl
        chosen = {} if ttl is None else {CACHE_TTL: ttl}
        self._environment = {**environment, **chosen}
        self._servers: Sequence[OperatorServer] = ()
        self._folder: RuntimeDirectory | None = None
        self._found: LaunchSpec | None = None
        self._searched_seconds = 0.0
        self._worker: tuple[LaunchSpec, LaunchSpec] | None = None
        self._demo_port: IListeningPort | None = None

    def open(self) -> None:
        """Create the directory; with ``--demo``, start the scripted Messages API.

        Raises:
            SettingsError: the file of ``--mcp-config`` is wrong.
        """
        self._servers = read_mcp_servers(self._settings, self._environment)
        self._folder = RuntimeDirectory(self.environment)
        self._found = None
        if self._settings.demo:
            api = FakeMessagesAPI(demo_script, self._reactor)
            site = MessagesSite(api, self._reactor)
            self._demo_port = self._reactor.listenTCP(0, site, interface="127.0.0.1")

    async def close(self) -> None:
        """Remove the directory; call it after the last CLI process has ended."""
        if self._demo_port is not None:
            await maybeDeferred(self._demo_port.stopListening)
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.remove()

    def database_url(self) -> str:
        """The URL of the database.

        Without a state directory, the database is in the runtime directory.

        Raises:
            StorageFailed: the runtime is not open.
        """
        folder = self._settings.state_dir
        if folder is None and self._folder is not None:
            folder = self._folder.path
        url = store_url(self._settings.database_url, folder)
        if url is None:
            raise StorageFailed(_CLOSED)
        return url

    def worker(self) -> LaunchSpec:
        """How to start a CLI process of body mode.

        Raises:
            ClaudeUnavailable: there is no CLI, or the runtime is not open.
        """
        found = self._launch()
        if self._worker is None or self._worker[0] is not found:
            self._worker = found, found.for_body_mode(BETAS)
        return self._worker[1]

    def native(self, without: frozenset[str] = frozenset()) -> LaunchSpec:
        """How to start a CLI process of native mode.

        Args:
            without: names of Claude Code's own tools to disable, because the client
                has tools of the same names.

        Raises:
            ClaudeUnavailable: there is no CLI, or the runtime is not open.
        """
        return self._launch().for_native_mode(CLIENT_SERVER).without(without)

    def isolated(self, launch: LaunchSpec, url: str) -> LaunchSpec:
        """How to start the CLI for an examination: with a dummy key and no login.

        Args:
            launch: the launch spec to change.
            url: the URL of the API to use.

        Raises:
            ClaudeUnavailable: the runtime is not open.
        """
        if self._folder is None:
            raise ClaudeUnavailable(_CLOSED, cause=Cause.NOT_STARTED)
        home = self._folder.path / "probe"
        home.mkdir(mode=0o700, exist_ok=True)
        child = child_environment(launch.environment, demo_upstream=url)
        child.pop("CLAUDE_CONFIG_DIR", None)
        environment = {**child, "HOME": str(home)}
        return evolve(launch, environment=environment, operator_servers={})

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that CLI processes inherit."""
        return child_environment(self._environment)

    @property
    def operator_body(self) -> Mapping[str, Raw]:
        """The operator's own fields for the body of every request.

        Empty if they are not valid; then `worker` and `native` raise the error.
        """
        try:
            return operator_body(self._environment)
        except ClaudeUnavailable:
            return {}

    def probe_upstream(self) -> ProbeUpstream:
        """The scripted Messages API for examining a CLI binary."""
        return ProbeUpstream(self._reactor)

    def _launch(self) -> LaunchSpec:
        if self._folder is None:
            raise ClaudeUnavailable(_CLOSED, cause=Cause.NOT_STARTED)
        found, now = self._found, self._reactor.seconds()
        if found is None:
            found = self._found = self._spec(self._folder.path)
        elif now - self._searched_seconds < _SEARCH_SECONDS and os.access(
            found.binary, os.X_OK
        ):
            return found
        else:
            binary = self._find_again(found.binary)
            if binary != found.binary:
                found = self._found = evolve(found, binary=binary)
        self._searched_seconds = now
        return found

    def _find_again(self, known: Path) -> Path:
        """The CLI's path now, or the known path while an update has removed the CLI."""
        try:
            return self._find()
        except ClaudeUnavailable:
            return known

    def _find(self) -> Path:
        return find_claude(self._settings.claude_bin, self._environment.get("PATH"))

    def _spec(self, folder: Path) -> LaunchSpec:
        cwd = folder / "cwd"
        return LaunchSpec(
            binary=self._find(),
            prefix=exec_prefix(cwd, self._environment.get("PATH")),
            cwd=cwd,
            scratch=folder,
            environment=self._child_environment(folder / "home"),
            model=self._settings.model,
            agent_tools=self._settings.agent_tools,
            operator_servers=self._server_files(folder / "mcp"),
            operator_body=operator_body(self._environment),
        )

    def _server_files(self, folder: Path) -> Mapping[str, Path]:
        """Write the configuration of each MCP server of the operator's to a file."""
        files = {}
        folder.mkdir(mode=0o700, exist_ok=True)
        for server in self._servers:
            files[server.name] = folder / f"{server.name}.json"
            document = {"mcpServers": {server.name: server.config}}
            files[server.name].write_bytes(encode(document))
        return files

    def _child_environment(self, home: Path) -> Mapping[str, str]:
        named: dict[str, str] = {}
        for server in self._servers:
            named |= server.variables
        return {**named, **self._inherited(home)}

    def _inherited(self, home: Path) -> Mapping[str, str]:
        if self._demo_port is None:
            return child_environment(self._environment)
        address: Any = self._demo_port.getHost()
        upstream = f"http://127.0.0.1:{address.port}"
        child = child_environment(self._environment, demo_upstream=upstream)
        # The demo writes nothing to the user's home directory.
        home.mkdir(mode=0o700, exist_ok=True)
        return {**child, "HOME": str(home)}
