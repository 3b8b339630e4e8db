"""The server's own folder for its CLIs' files, and those that killed servers left.

A server holds a lock on a file in its folder for as long as it lives: however it ends,
the system takes the lock away. A folder of ours whose lock can be had is nobody's; the
next server to start takes it away, and ends what still runs with its files: a CLI that
was stopped (SIGSTOP) when its server was killed hears of neither.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import Logger

from ccproxy.claude.process.process import kill_each
from ccproxy.claude.process.procfs import processes_in

_PREFIX = "ccproxy-"
_LOCK = "owner"


class RuntimeDirectory:
    """A folder that goes with its server, or at the latest when the next one starts.

    Attributes:
        path: readable for nobody else.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Under its name the file is locked from the beginning.
        young = self.path / f"{_LOCK}.new"
        self._lock = os.open(young, os.O_CREAT | os.O_WRONLY, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        young.rename(self.path / _LOCK)

    def remove(self) -> None:
        """Take the folder away, with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _remove_abandoned(self, place: Path) -> None:
        for folder in place.glob(f"{_PREFIX}*"):
            with _abandoned(folder) as is_abandoned:
                if is_abandoned:
                    kill_each(processes_in(folder))
                    shutil.rmtree(folder, ignore_errors=True)
                    self._log.info("removed what a killed server left: {f}", f=folder)


@contextmanager
def _abandoned(folder: Path) -> Iterator[bool]:
    """Whether a folder is ours, and its server dead; it stays so within."""
    lock = _lock_of(folder)
    if lock is None:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)


def _lock_of(folder: Path) -> int | None:
    """The lock's file, opened; None: it is not for us to touch."""
    try:
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            return None
        return os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        return None
