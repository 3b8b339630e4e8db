"""Results of examining CLI binaries, in a file of the state directory."""

import os
from pathlib import Path

import msgspec
from twisted.logger import Logger

from ccproxy import __version__
from ccproxy.claude.installation.conformance import BinaryID, ProbeResult

_FILE = "claude-binaries.json"
_MOST_KEPT = 20


class _Entry(msgspec.Struct, frozen=True):
    """The result of one binary; ``by`` is the version of ccproxy that examined it."""

    binary: BinaryID
    result: ProbeResult
    by: str


class ProbeResultFile:
    """Stores results; they are valid for the same version of ccproxy.

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
        young = self._path.with_name(f"{_FILE}.{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            young.write_bytes(msgspec.json.encode(kept))
            young.replace(self._path)
        except OSError as error:
            self._log.warn(
                "the result of examining the claude CLI cannot be stored: {error}",
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
