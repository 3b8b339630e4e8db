"""Notifies the service manager, as sd_notify(3) describes.

One datagram to the socket that ``NOTIFY_SOCKET`` names. Twisted 26.10 has no such
function. Of the packages that have it, the small ones were last released years ago, and
the maintained ones need libsystemd.
"""

import socket
from collections.abc import Mapping

from twisted.logger import Logger

READY = "READY=1"
STOPPING = "STOPPING=1"

_VARIABLE = "NOTIFY_SOCKET"
_log = Logger()


def notify(state: str, environment: Mapping[str, str]) -> bool:
    """Send a state to the service manager, if there is one; does not wait.

    Returns:
        Whether the state was sent.
    """
    name = environment.get(_VARIABLE, "")
    # Other addresses (vsock) are for virtual machines.
    if not name.startswith(("/", "@")):
        return False
    # An @ stands for the zero byte before the name of an abstract socket.
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        ) as manager:
            manager.setblocking(False)
            manager.sendto(state.encode(), address)
    except OSError as error:
        _log.warn(
            "{state} could not be sent to the service manager: {error}",
            state=state,
            error=str(error),
        )
        return False
    return True
