"""Tells a service manager how far the server is, as sd_notify(3) has it.

One datagram to the socket that ``NOTIFY_SOCKET`` names. Twisted 26.10 has nothing for
it; of the packages that do, the small ones were last released years ago, and the kept
ones are built against libsystemd.
"""

import socket
from collections.abc import Mapping

from twisted.logger import Logger

READY = "READY=1"
STOPPING = "STOPPING=1"

_VARIABLE = "NOTIFY_SOCKET"
_log = Logger()


def notify(state: str, environment: Mapping[str, str]) -> bool:
    """Tell it, if there is anyone to be told; never waits.

    Returns:
        Whether it was told.
    """
    name = environment.get(_VARIABLE, "")
    # Others are for machines that are told from outside.
    if not name.startswith(("/", "@")):
        return False
    # An @ stands for the zero byte of an abstract socket.
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        ) as told:
            told.setblocking(False)
            told.sendto(state.encode(), address)
    except OSError as error:
        _log.warn(
            "the service manager could not be told {state}: {error}",
            state=state,
            error=str(error),
        )
        return False
    return True
