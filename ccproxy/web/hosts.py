"""The host names that a request may be for: its ``Host`` header. Pure.

The owner of a web page can let the name of its site resolve to this machine. A browser
then takes this server for the page's own site (DNS rebinding). The requests still name
that site, and are refused. An address cannot be made to mean another machine, so every
address is allowed.

Source: RFC 9110, "Host and :authority"; RFC 9112, "Request Target".
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from ccproxy.core.errors import HostNotAllowed, InvalidRequest

ANY = "*"
_LOCAL = ("localhost", "*.localhost")
_LONGEST_NAME = 253
_PORT = re.compile(r":\d{0,5}\Z")


class AllowedHosts:
    """The host names of this server.

    Args:
        names: besides those of the loopback interface; ``*.example.org`` stands for
            every name below ``example.org``, ``*`` for any name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(_bare(name) for name in (*_LOCAL, *names))

    def check(self, target: bytes, hosts: Sequence[bytes]) -> None:
        """Check which host a request is for.

        Args:
            target: of the request; in the absolute form it names a host, too.
            hosts: the ``Host`` headers.

        Raises:
            HostNotAllowed: the request is for another host; names the option.
        """
        named = [host.decode("latin-1").strip() for host in hosts]
        authority = _authority(target)
        if authority is not None:
            named.append(authority)
        for name in named:
            if not self.knows(name):
                raise HostNotAllowed(
                    "this request is for another host name than this proxy's; if it "
                    "is meant for it, start the proxy with --allowed-hosts and that "
                    "name (CCPROXY_ALLOWED_HOSTS)"
                )

    def knows(self, host: str) -> bool:
        """Whether a host, with or without a port, is allowed."""
        name = _bare(host)
        if ANY in self._names:
            return True
        if not 0 < len(name) <= _LONGEST_NAME:
            return False
        if name in self._names or _is_address(name):
            return True
        labels = name.split(".")
        above = [".".join(labels[place:]) for place in range(1, len(labels))]
        return any(f"*.{parent}" in self._names for parent in above)


def check_count(version: bytes, hosts: Sequence[bytes]) -> None:
    """Check that a request has exactly one ``Host`` header, as HTTP/1.1 demands.

    Args:
        version: of HTTP, as in the request line.
        hosts: the headers.

    Raises:
        InvalidRequest: it has none, or several.
    """
    if len(hosts) > 1:
        raise InvalidRequest("there is more than one Host header; send one")
    if not hosts and version != b"HTTP/1.0":
        raise InvalidRequest("there is no Host header, which HTTP/1.1 demands")


def _bare(host: str) -> str:
    """A name in lower case, without port and final dot."""
    return _PORT.sub("", host.strip()).lower().removesuffix(".")


def _authority(target: bytes) -> str | None:
    match = re.match(rb"https?://([^/?#]*)", target, re.IGNORECASE)
    if match is None:
        return None
    # The part before an @ is no host.
    return match[1].decode("latin-1").rpartition("@")[2]


def _is_address(name: str) -> bool:
    inner = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return (ip_address(inner).version == 6) == (inner != name)
    except ValueError:
        return False
