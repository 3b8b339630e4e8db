"""The interface by which a CLI process reports lines and its exit. Pure."""

import signal
from typing import Protocol

from attrs import frozen
from typing_extensions import override

from ccproxy.claude.protocol.codec import WireError
from ccproxy.claude.protocol.error_log import is_log_line

_LAST_WORDS_CHARACTERS = 300


@frozen(kw_only=True)
class ProcessExit:
    """How a process ended.

    Attributes:
        code: exit status; None: a signal ended the process.
        signal: number of the signal; None: the process exited.
        stderr: the last 32 kB of stderr.
        rest: the bytes of stdout after the last complete line.
    """

    code: int | None
    signal: int | None
    stderr: str
    rest: bytes

    @override
    def __str__(self) -> str:
        how = f"exit status {self.code}"
        if self.signal is not None:
            how = f"signal {signal.Signals(self.signal).name}"
        if self.rest:
            how += f", in the middle of a line of {len(self.rest)} bytes"
        lines = [line.strip() for line in self.stderr.splitlines()]
        plain = [line for line in lines if line and not is_log_line(line)]
        words = plain[-1][:_LAST_WORDS_CHARACTERS] if plain else ""
        return f"{how}; stderr ends with: {words}" if words else how


class ProcessOwner(Protocol):
    """The receiver of a process's output and end."""

    def lines_received(self, lines: list[bytes]) -> None:
        """Take the complete lines of one read, at least one line."""

    def garbage_received(self, error: WireError) -> None:
        """Note that a line is too long, or that too many lines are not JSON."""

    def process_ended(self, end: ProcessExit) -> None:
        """Note that the process is reaped and its pipes are closed; the last call."""
