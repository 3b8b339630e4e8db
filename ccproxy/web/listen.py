"""The endpoints that the server listens on, from Twisted's endpoint strings."""

import os
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

from ccproxy.config.settings import SettingsError


def endpoint_of(reactor: Any, text: str) -> IStreamServerEndpoint:
    """The endpoint that a string means.

    Raises:
        SettingsError: Twisted does not understand it.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as error:
        # Each parser of endpoint strings fails in a way of its own.
        raise SettingsError(f"--listen: {text!r} is no endpoint: {error}") from error
    return endpoint


def uses_tls(text: str) -> bool:
    """Whether clients of an endpoint have to speak TLS."""
    return text.startswith(("ssl:", "tls:"))


def is_inherited(text: str) -> bool:
    """Whether an endpoint is a socket that systemd passes to the process."""
    return text.startswith("systemd:")


def base_url(text: str, address: object) -> str:
    """The address of a listening endpoint, as curl takes it."""
    scheme = "https" if uses_tls(text) else "http"
    match address:
        case IPv4Address(host=host, port=port):
            return f"{scheme}://{host}:{port}/v1"
        case IPv6Address(host=host, port=port):
            return f"{scheme}://[{host}]:{port}/v1"
        case UNIXAddress(name=name):
            return f"--unix-socket {os.fsdecode(name or '')} http://localhost/v1"
    return repr(address)
