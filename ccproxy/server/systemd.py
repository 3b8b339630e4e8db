"""Notifies the service manager of the server's state (sd_notify(3)).

A notification is one datagram to the socket that ``NOTIFY_SOCKET`` names. Twisted 26.10
cannot send notifications. The small packages that can were last released years ago, and
the maintained packages need libsystemd.
"""

import socket
from collections.abc import Mapping

from twisted.logger import Logger

READY = "READY=1"
STOPPING = "STOPPING=1"
# How the text of STATUS begins if the server could not start.
FAILED = "failed:"

_VARIABLE = "NOTIFY_SOCKET"
_log = Logger()


def notify(state: str, environment: Mapping[str, str]) -> bool:
    """Send a state to the service manager, if there is one; does not wait.

    Returns:
        Whether the state was sent.
    """
    name = environment.get(_VARIABLE, "")
    # A vsock address, which systemd uses for virtual machines, is not supported.
    if not name.startswith(("/", "@")):
        return False
    # "@" stands for the zero byte at the beginning of an abstract socket's name.
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        ) as manager:
            manager.setblocking(False)
            manager.sendto(state.encode(), address)
    except OSError as error:
        _log.warn(
            "cannot send {state} to the service manager: {error}",
            state=state,
            error=str(error),
        )
        return False
    return True
