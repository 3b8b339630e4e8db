"""How CLI processes are started, as the backend is told."""

from collections.abc import Mapping
from typing import Protocol

from ccproxy.claude.process.launch import LaunchSpec


class Launches(Protocol):
    """How CLI processes are started."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment of the CLI; it decides how large bodies may be."""

    def worker(self) -> LaunchSpec:
        """For questions that are set whole; raises `CCProxyError` where none is."""

    def native(self, without: frozenset[str]) -> LaunchSpec:
        """For a question that is told; raises `CCProxyError` where none is.

        Args:
            without: names of Claude Code's own tools that are the client's here.
        """
