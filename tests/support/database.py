"""Runs a PostgreSQL for the tests, if its programs are installed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pwd import getpwnam
from tempfile import mkdtemp

_CONFIGURATION = """
listen_addresses = ''
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 60
"""


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, which Debian does not put on PATH."""
    found = [Path(name).parent for name in [shutil.which("initdb")] if name]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def _as_nobody() -> list[str]:
    """The start of a command that runs it as nobody, if the tests run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a cluster; yields its URL, with a place for the database's name."""
    folder = programs()
    assert folder is not None
    # A socket's path must be short.
    home = Path(mkdtemp(prefix="pg-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            nobody = getpwnam("nobody")
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
        data = home / "data"
        options = ["--auth=trust", "--username=ccproxy", "--encoding=UTF8"]
        run = [*_as_nobody(), str(folder / "initdb"), "--no-sync", *options, str(data)]
        subprocess.run(run, check=True, capture_output=True, cwd=home)
        with (data / "postgresql.conf").open("a") as file:
            file.write(f"{_CONFIGURATION}unix_socket_directories = '{home}'\n")
        control = [*_as_nobody(), str(folder / "pg_ctl"), "-D", str(data), "-w", "-s"]
        start = [*control, "-l", str(home / "log"), "start"]
        subprocess.run(start, check=True, cwd=home, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql+psycopg://ccproxy@/{{}}?host={home}"
        finally:
            stop = [*control, "-m", "immediate", "stop"]
            subprocess.run(stop, check=True, cwd=home)
    finally:
        shutil.rmtree(home, ignore_errors=True)
