"""The place of the CLI's program: which binary is there now.

An update replaces the file, moves a symbolic link to another version, or deletes the
folder of the version. For some seconds there may be no file, or an incomplete file.
"""

import os
from collections.abc import Callable
from pathlib import Path

from ccproxy.claude.process.binary import identify
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.claude.process.launch import LaunchSpec


class BinaryPlace:
    """Looks at the place of the CLI's program.

    Attributes:
        binary: the binary that was there at the last look; None: there was none.
        launch: how the program at this place is started.

    Args:
        find: returns how the CLI is started; raises `CCProxyError` if there never was a
            CLI.
    """

    launch: LaunchSpec

    def __init__(self, find: Callable[[], LaunchSpec]) -> None:
        self.binary: BinaryID | None = None
        self._find = find
        self._mark: object = None
        self._has_looked = False

    @property
    def is_missing(self) -> bool:
        """Whether the last look has found no program."""
        return self._has_looked and self.binary is None

    def look(self) -> BinaryID | None:
        """The binary that is there now; None: there is none.

        Raises:
            CCProxyError: there never was a CLI.
        """
        self.launch = self._find()
        # Cheaper than `identify`, which resolves symbolic links.
        mark = _mark_of(self.launch.binary)
        if mark != self._mark or self.binary is None:
            self.binary, self._mark = identify(self.launch.binary), mark
        self._has_looked = True
        return self.binary

    def path_of(self, binary: BinaryID) -> Path | None:
        """The path at which a binary can be started; None: it is gone.

        A version whose symbolic link was moved is still in its own folder.
        """
        if self.binary == binary:
            # A program may depend on the name by which it is called.
            return self.launch.binary
        own = Path(binary.path)
        return own if identify(own) == binary else None


def _mark_of(binary: Path) -> object:
    """Identify the file at a path by one ``stat``; None: there is no file."""
    try:
        about = os.stat(binary)
    except OSError:
        return None
    return (binary, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
