"""The server's folder for the files of its CLIs; removes folders of killed servers.

A server locks a file in its folder. The system releases the lock when the server ends,
even if it is killed. So a folder whose lock is free belongs to a dead server. The next
server removes this folder, and kills processes that still use it, such as a CLI that
was stopped (SIGSTOP) when its server was killed.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from twisted.logger import Logger

from ccproxy.claude.process.procfs import kill_each, leftovers_in, processes_in

_PREFIX = "ccproxy-"
_LOCK = "owner"
# Much more time than a server needs between making its folder and locking it.
_MAKING_SECONDS = 3600.0


class RuntimeDirectory:
    """A folder that this server removes at its end, or the next server after a kill.

    Attributes:
        path: the folder; only this user can read it.

    Args:
        environment: the environment of the CLIs, which locates their session files.
    """

    _log = Logger()

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        # Renamed after it is locked, so that its final name is always locked.
        new_lock = self.path / f"{_LOCK}.new"
        self._lock = os.open(new_lock, os.O_CREAT | os.O_WRONLY, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new_lock.rename(self.path / _LOCK)

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def _remove_abandoned(self, place: Path) -> None:
        for folder in place.glob(f"{_PREFIX}*"):
            if _never_began(folder):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            with _abandoned(folder) as is_abandoned:
                if is_abandoned:
                    kill_each(processes_in(folder))
                    for path in self._leftovers(folder):
                        path.unlink(missing_ok=True)
                    shutil.rmtree(folder, ignore_errors=True)
                    self._log.info(
                        "removed the folder of a killed server: {f}", f=folder
                    )

    def _leftovers(self, folder: Path) -> Iterator[Path]:
        """The files that killed CLIs have left outside their server's folder."""
        environments = [self._environment]
        # The folder may contain home directories, whose session files name sockets.
        environments += [{"HOME": str(home)} for home in folder.glob("*/")]
        for environment in environments:
            yield from leftovers_in(environment, folder)


def _never_began(folder: Path) -> bool:
    """Whether a server was killed, long ago, before it had locked the folder."""
    try:
        names = {path.name for path in folder.iterdir()}
        about = folder.lstat()
    except OSError:
        return False
    is_own = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
    is_old = time.time() - about.st_mtime > _MAKING_SECONDS
    return is_own and is_old and names <= {f"{_LOCK}.new"}


@contextmanager
def _abandoned(folder: Path) -> Iterator[bool]:
    """Whether a folder's server is dead; if so, the context holds the folder's lock."""
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
    """The opened lock file; None: there is none, or the folder is another user's."""
    try:
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            return None
        return os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW)
    except OSError:
        return None
