"""The interfaces to examine a CLI binary and to store the result."""

from collections.abc import Callable
from typing import Protocol

from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.claude.process.launch import LaunchSpec


class Prober(Protocol):
    """Examines a CLI without data of a client."""

    async def probe(
        self, launch: LaunchSpec, decided: Callable[[ProbeResult], None]
    ) -> ProbeResult:
        """Start a CLI, and check it if the prober has any checks.

        On cancel, the process is killed.

        Args:
            launch: how the CLI is started for requests.
            decided: called with the result of the decisive checks.

        Returns:
            The result of all quick checks.

        Raises:
            ClaudeUnavailable: the binary is too old, or not the CLI.
            CCProxyError: the examination had no result.
        """


class ProbeResults(Protocol):
    """Stores results of examinations."""

    def load(self, binary: BinaryID) -> ProbeResult | None:
        """The stored result of a binary; None: there is none."""

    def save(self, binary: BinaryID, result: ProbeResult) -> None:
        """Store a result; a failure is not raised."""
