"""Where the CLIs of one server live: its private folder, and the demo's upstream."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort

from ccproxy.claude.process.launch import (
    Launch,
    child_environment,
    exec_prefix,
    find_claude,
    operator_body,
)
from ccproxy.claude.process.runtime_dir import PrivateFolder
from ccproxy.errors import ClaudeUnavailable, StorageFailed
from ccproxy.server.demo import demo_script
from ccproxy.server.fake_upstream import FakeMessagesAPI, MessagesSite
from ccproxy.settings import Settings
from ccproxy.store.engine import store_url

_CLOSED = "the proxy's service has not been started"


class Premises:
    """What there is on disk and on loopback from `open` to `close`."""

    def __init__(
        self, settings: Settings, reactor: Any, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._environment = environment
        self._folder: PrivateFolder | None = None
        self._found: Launch | None = None
        self._demo_port: IListeningPort | None = None

    def open(self) -> None:
        """Make the folder; with a demo, listen for its CLIs."""
        self._folder = PrivateFolder()
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

    def launch(self) -> Launch:
        """How to start a CLI; it may be installed while we run.

        Raises:
            ClaudeUnavailable: there is none, or no folder yet.
        """
        if self._folder is None:
            raise ClaudeUnavailable(_CLOSED)
        if self._found is None:
            search_path = self._environment.get("PATH")
            folder = self._folder.path
            cwd = folder / "cwd"
            self._found = Launch(
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
