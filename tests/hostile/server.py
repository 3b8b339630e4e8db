"""A server whose reactor is watched, for ``python -m tests.hostile``.

``python -m tests.hostile.server FOLDER [--option value …]``: the proxy, with a scripted
CLI. It writes its port and the watch's port to ``FOLDER/ports``. A connection to the
watch's port gets a line of JSON (see `Watch.report`).
"""

import faulthandler
import gc
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogBeginner, textFileLogObserver
from typing_extensions import override

from ccproxy.config.settings import Settings
from ccproxy.server.service import make_service

KEY = "hostile-key"

_BEAT_SECONDS = 0.005
_LATE_SECONDS = 0.1
_REACTOR: Any = reactor
_CLI = Path(__file__).parents[1] / "support" / "fake_worker_cli.py"


class Watch(Protocol):
    """Measures the longest time between two beats of the reactor.

    A beat is late if a turn of the reactor is long, or if another thread keeps the
    interpreter's lock. On a machine with other work it may also be late by itself: the
    processor time of this process in the same time is the measure then.
    """

    worst_seconds = 0.0
    wall_seconds = 0.0
    trace: Any = None
    _last = (0.0, 0.0)

    @classmethod
    def beat(cls) -> None:
        """Measure, and beat again."""
        now = (time.monotonic(), time.process_time())
        wall, cpu = (new - old for new, old in zip(now, cls._last, strict=True))
        if cls._last != (0.0, 0.0):
            cls.worst_seconds = max(cls.worst_seconds, min(wall, cpu))
            cls.wall_seconds = max(cls.wall_seconds, wall)
        cls._last = now
        if cls.trace is not None:
            # Another thread writes the stacks if the next beat is late.
            faulthandler.dump_traceback_later(_LATE_SECONDS, file=cls.trace)
        _REACTOR.callLater(_BEAT_SECONDS, cls.beat)

    @classmethod
    def report(cls) -> dict[str, float]:
        """The worst since the last report, in milliseconds; and memory in MiB."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        found = {
            "held_ms": 1000 * cls.worst_seconds,
            "wall_ms": 1000 * cls.wall_seconds,
            "rss_mib": pages * resource.getpagesize() / 2**20,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        cls.worst_seconds = cls.wall_seconds = 0.0
        return found

    @override
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(self.report()).encode())
        self.transport.loseConnection()


def fake_cli(folder: Path) -> Path:
    """Write a program that is called as the CLI is; returns its path."""
    cli = folder / "claude"
    cli.write_text(
        "#!/bin/sh\n"
        '[ "$1" = --version ] && echo "2.1.332 (Claude Code)" && exit\n'
        f'exec "{sys.executable}" "{_CLI}" "" /dev/null "$@"\n'
    )
    cli.chmod(0o700)
    return cli


def main() -> None:
    folder = Path(sys.argv[1])
    options = json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}
    log = (folder / "log").open("w", encoding="utf-8")
    globalLogBeginner.beginLoggingTo([textFileLogObserver(log)])
    cli = fake_cli(folder)
    settings = Settings(
        **{
            "api_keys": (KEY,),
            "listen": ("tcp:0:interface=127.0.0.1",),
            "claude_bin": cli,
            "compose": "body",
            "drain_timeout": 1.0,
            "state_dir": folder,
            **options,
        }
    )
    server: Any = make_service(
        settings, reactor=_REACTOR, environment={"PATH": os.environ["PATH"]}
    )
    # As `ccproxy.cli.main` does.
    gc.freeze()
    server.privilegedStartService()
    server.startService()
    _REACTOR.addSystemEventTrigger("before", "shutdown", server.stopService)
    watch = _REACTOR.listenTCP(0, Factory.forProtocol(Watch), interface="127.0.0.1")
    ports = [server.ports[0].getHost().port, watch.getHost().port]
    (folder / "new").write_text(json.dumps(ports))
    (folder / "new").rename(folder / "ports")
    if "HOSTILE_TRACE" in os.environ:
        Watch.trace = (folder / "trace").open("w", encoding="utf-8")
    Watch.beat()
    _REACTOR.run()


if __name__ == "__main__":
    main()
