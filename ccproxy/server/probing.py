"""For the examination of CLI binaries: the scripted API, and the stored results."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from ccproxy import __version__
from ccproxy.claude.installation.conformance import BinaryID, ProbeResult
from ccproxy.server.fake_upstream import FakeMessagesAPI, MessagesSite
from ccproxy.server.scripted_reply import Reply, words

_FILE = "claude-binaries.json"
_MOST_KEPT = 20


class _Entry(msgspec.Struct, frozen=True):
    """The result for one binary; ``by`` is the version of ccproxy that examined it."""

    binary: BinaryID
    result: ProbeResult
    by: str


def _remove_unfinished(folder: Path) -> None:
    """Remove what servers have left that were killed while they wrote."""
    for path in folder.glob(f"{_FILE}.*"):
        pid = path.suffix.removeprefix(".")
        try:
            if pid.isdecimal():
                os.kill(int(pid), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except (OSError, OverflowError):
            # Another user's process.
            continue


class ProbeResultFile:
    """Stores results in a file; a result is valid for the same version of ccproxy.

    Args:
        folder: the state directory; None: nothing is stored.
    """

    _log = Logger()

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / _FILE

    def load(self, binary: BinaryID) -> ProbeResult | None:
        """The stored result of a binary, if there is one."""
        for entry in self._read():
            if entry.binary == binary and entry.by == __version__:
                return entry.result
        return None

    def save(self, binary: BinaryID, result: ProbeResult) -> None:
        """Store a result; a failure is logged."""
        if self._path is None:
            return
        others = [e for e in self._read() if e.binary != binary]
        kept = [*others, _Entry(binary, result, __version__)][-_MOST_KEPT:]
        new_file = self._path.with_name(f"{_FILE}.{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _remove_unfinished(self._path.parent)
            new_file.write_bytes(msgspec.json.encode(kept))
            new_file.replace(self._path)
        except OSError as error:
            self._log.warn(
                "cannot store the result of the claude CLI's examination: {error}",
                error=str(error),
            )

    def _read(self) -> list[_Entry]:
        if self._path is None:
            return []
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[_Entry])
        except (OSError, msgspec.DecodeError):
            # There is no file yet, or another version has written it.
            return []


def _reply(_: Mapping[str, Any]) -> Reply:
    return Reply(blocks=(words("Yes."),))


class ProbeUpstream:
    """Answers every request with one word, and records the requests."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._api = FakeMessagesAPI(_reply, reactor, record=True)
        self._port: IListeningPort | None = None

    @property
    def bodies(self) -> Sequence[Mapping[str, Any]]:
        """The bodies of all requests so far."""
        return self._api.bodies

    def listen(self) -> str:
        """Open the port; returns the URL."""
        site = MessagesSite(self._api, self._reactor)
        self._port = self._reactor.listenTCP(0, site, interface="127.0.0.1")
        address: Any = self._port.getHost()
        return f"http://127.0.0.1:{address.port}"

    async def close(self) -> None:
        """Close the port."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
