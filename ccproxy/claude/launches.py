"""How CLI processes are started."""

from collections.abc import Mapping
from typing import Protocol

from ccproxy.claude.process.launch import LaunchSpec


class Launches(Protocol):
    """Returns how CLI processes are started now."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment of the CLI; it decides how large bodies may be."""

    def worker(self) -> LaunchSpec:
        """How a worker is started; raises `CCProxyError` if there is no CLI."""

    def native(self, without: frozenset[str]) -> LaunchSpec:
        """How a process of native mode is started.

        Args:
            without: Claude Code's own tools that the client has under the same name.

        Raises:
            CCProxyError: there is no CLI.
        """
