"""Where the CLIs of one server live: its private folder, and the demo's upstream."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve
from msgspec import Raw
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort

from ccproxy.claude.native.mcp_server import SERVER
from ccproxy.claude.process.launch import (
    LaunchSpec,
    child_environment,
    exec_prefix,
    find_claude,
    operator_body,
)
from ccproxy.claude.process.runtime_dir import RuntimeDirectory
from ccproxy.config.settings import Settings
from ccproxy.core.errors import ClaudeUnavailable, StorageFailed
from ccproxy.server.demo import demo_script
from ccproxy.server.fake_upstream import FakeMessagesAPI, MessagesSite
from ccproxy.server.probe_upstream import ProbeUpstream
from ccproxy.store.engine import store_url

# The provider's trial features that every process asks for, beside the CLI's own.
BETAS: tuple[str, ...] = ()

_CLOSED = "the proxy's service has not been started"


class Runtime:
    """What there is on disk and on loopback from `open` to `close`."""

    def __init__(
        self, settings: Settings, reactor: Any, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._environment = environment
        self._folder: RuntimeDirectory | None = None
        self._found: LaunchSpec | None = None
        self._worker: tuple[LaunchSpec, LaunchSpec] | None = None
        self._demo_port: IListeningPort | None = None

    def open(self) -> None:
        """Make the folder; with a demo, listen for its CLIs."""
        self._folder = RuntimeDirectory()
        self._found = None
        if self._settings.demo:
            api = FakeMessagesAPI(demo_script, self._reactor)
            site = MessagesSite(api, self._reactor)
            self._demo_port = self._reactor.listenTCP(0, site, interface="127.0.0.1")

    async def close(self) -> None:
        """Take everything away; no CLI may run any more."""
        if self._demo_port is not None:
            await maybeDeferred(self._demo_port.stopListening)
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.remove()

    def database_url(self) -> str:
        """Where the store is; without a state directory, in the private folder.

        Raises:
            StorageFailed: there is no folder yet.
        """
        folder = self._settings.state_dir
        if folder is None and self._folder is not None:
            folder = self._folder.path
        url = store_url(self._settings.database_url, folder)
        if url is None:
            raise StorageFailed(_CLOSED)
        return url

    def worker(self) -> LaunchSpec:
        """How to start a CLI for questions whose body is set whole.

        Raises:
            ClaudeUnavailable: there is none, or no folder yet.
        """
        found = self._launch()
        if self._worker is None or self._worker[0] is not found:
            self._worker = found, found.for_bodies(BETAS)
        return self._worker[1]

    def native(self, without: frozenset[str] = frozenset()) -> LaunchSpec:
        """How to start a CLI for a question that it is told turn by turn.

        Args:
            without: names of Claude Code's own tools that are the client's here.

        Raises:
            ClaudeUnavailable: there is none, or no folder yet.
        """
        return self._launch().for_questions(SERVER).without(without)

    def isolated(self, launch: LaunchSpec, url: str) -> LaunchSpec:
        """A CLI in front of another API, with a dummy key and without any login."""
        if self._folder is None:
            raise ClaudeUnavailable(_CLOSED)
        home = self._folder.path / "probe"
        home.mkdir(mode=0o700, exist_ok=True)
        child = child_environment(launch.environment, demo_upstream=url)
        child.pop("CLAUDE_CONFIG_DIR", None)
        return evolve(launch, environment={**child, "HOME": str(home)})

    @property
    def environment(self) -> Mapping[str, str]:
        """What the CLIs get to see of the server's environment."""
        return child_environment(self._environment)

    @property
    def operator_body(self) -> Mapping[str, Raw]:
        """The operator's own fields of each request's body; none if they are no JSON.

        Whoever starts a CLI is told of that.
        """
        try:
            return operator_body(self._environment)
        except ClaudeUnavailable:
            return {}

    def probe_upstream(self) -> ProbeUpstream:
        """What a CLI binary is examined in front of."""
        return ProbeUpstream(self._reactor)

    def _launch(self) -> LaunchSpec:
        if self._folder is None:
            raise ClaudeUnavailable(_CLOSED)
        if self._found is None:
            search_path = self._environment.get("PATH")
            folder = self._folder.path
            cwd = folder / "cwd"
            self._found = LaunchSpec(
                binary=find_claude(self._settings.claude_bin, search_path),
                prefix=exec_prefix(cwd, search_path),
                cwd=cwd,
                scratch=folder,
                environment=self._child_environment(folder / "home"),
                model=self._settings.model,
                agent_tools=self._settings.agent_tools,
                operator_body=operator_body(self._environment),
            )
        return self._found

    def _child_environment(self, home: Path) -> Mapping[str, str]:
        if self._demo_port is None:
            return child_environment(self._environment)
        address: Any = self._demo_port.getHost()
        upstream = f"http://127.0.0.1:{address.port}"
        child = child_environment(self._environment, demo_upstream=upstream)
        # Not the user's own home: a demo leaves no trace in it.
        home.mkdir(mode=0o700, exist_ok=True)
        return {**child, "HOME": str(home)}
