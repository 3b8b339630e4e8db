"""Imagined processes: Twisted's transport as a test drives it, without a child process.

A test decides when the process reads a line, writes one, or dies.
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Generic, TypeVar

from attrs import define, field
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

# No process of this machine has such a number, so kill() has no effect.
FIRST_PID = 2**30


def stream_event(kind: str, **fields: Any) -> dict[str, Any]:
    """A line of the CLI for an event of the Messages API's stream."""
    event = {"type": kind, **fields}
    return {"type": "stream_event", "event": event, "parent_tool_use_id": None}


@define(eq=False)
class ImaginedProcess:
    """A process, as Twisted's transport shows it; subclasses are the CLI in it.

    Attributes:
        protocol: the protocol of the proxy.
        pid: the process id.
        words: returns the next word that the model says.
        said: the words of the current answer.
    """

    protocol: Any
    pid: int
    words: Callable[[], str]
    inbox: deque[dict[str, Any]] = field(factory=deque)
    unread: list[bytes] = field(factory=list)
    is_paused: bool = False
    signals: list[str] = field(factory=list)
    is_gone: bool = False
    pipes: Mapping[int, Any] = field(factory=dict)
    said: list[str] = field(factory=list)
    _has_begun: bool = False
    _numbers: Any = field(factory=lambda: count(1))

    # What the transport is asked for.

    def write(self, data: bytes) -> None:
        assert not self.is_gone
        self.inbox += [json.loads(line) for line in data.splitlines()]

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False
        unread, self.unread = self.unread, []
        if unread:
            self.protocol.outReceived(b"".join(unread))

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def loseConnection(self) -> None:
        pass

    # What the process does.

    def exit(self, status: int = 1) -> None:
        """End, and be reaped."""
        self.is_gone = True
        number = 9 if "KILL" in self.signals else None
        reason = Failure(ProcessTerminated(None if number else status, number))
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)

    def write_out(self, *records: Mapping[str, Any] | bytes) -> None:
        """Write lines to stdout in one read."""
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        data = b"".join(line + b"\n" for line in lines)
        if self.is_paused:
            self.unread.append(data)
        else:
            self.protocol.outReceived(data)

    def say(self) -> None:
        """Write one more delta."""
        word = self.words()
        self.said.append(word)
        delta = {"type": "text_delta", "text": word}
        self.write_out(
            *self._opening(), stream_event("content_block_delta", index=0, delta=delta)
        )

    def _opening(self) -> list[dict[str, Any]]:
        """The beginning of a message and its first block; empty if it has begun."""
        raise NotImplementedError


_Process = TypeVar("_Process", bound=ImaginedProcess)


@define(eq=False)
class ImaginedSpawner(Generic[_Process]):
    """Starts imagined processes; refuses with ``error`` if there is one."""

    make: Callable[[Any, int, Callable[[], str]], _Process]
    words: Callable[[], str]
    processes: list[_Process] = field(factory=list)
    error: OSError | None = None

    @property
    def living(self) -> list[_Process]:
        return [process for process in self.processes if not process.is_gone]

    def spawnProcess(self, protocol: Any, *args: object, **options: object) -> None:
        if self.error is not None:
            raise self.error
        process = self.make(protocol, FIRST_PID + len(self.processes), self.words)
        self.processes.append(process)
        protocol.makeConnection(process)
