"""Access control: API keys, host names, and CORS for web pages of other sites. Pure.

**Keys.** The key is checked twice. The server checks the key when a request's headers
have arrived, so that it never reads the body of a client without a key. The routes
check the key again, because they can be mounted in another application's server.

**Host names.** The owner of a web site can make the site's name resolve to this
machine. A browser then treats this server as part of that site (DNS rebinding). The
``Host`` header of such a request has the site's name, so the request is refused. IP
addresses are always allowed: an address cannot be made to resolve to another machine.

**Pages.** Scripts of a page can read responses only if the operator has allowed the
page's site. Every response to a page of an allowed site has the CORS headers. The
response to a preflight request also allows the header that carries the key, and allows
a page of the internet to reach a private network.

Source: RFC 9110, "Host and :authority"; RFC 9112, "Request Target"; WHATWG Fetch,
"HTTP CORS protocol"; WICG Private Network Access.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b, sha256
from ipaddress import ip_address
from typing import Protocol

from ccproxy.config.settings import SettingsError
from ccproxy.core.errors import (
    HostNotAllowed,
    InvalidKey,
    InvalidRequest,
    RequestTooLarge,
    UnsupportedEncoding,
)

_SCHEME = "bearer"
_ID_BYTES = 4

# The key id of requests for which no key was checked.
NO_KEY = "-"
_ANY = "*"
_LOCAL = ("localhost", "*.localhost")
_LONGEST_NAME = 253
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\Z")
_KEY_IN_QUERY = re.compile(rb"[?&](?:api[_-]?)?key=", re.IGNORECASE)
_PORT = re.compile(r":\d{0,5}\Z")
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105  # HTTP's, no secret
_TOKENS = re.compile(rf"{_TOKEN}(?: ?, ?{_TOKEN})*")
_LONGEST = 2000
_EXPOSED = (
    "x-request-id, retry-after, x-should-retry, x-ccproxy-ignored, "
    "x-ccproxy-adjusted, x-ccproxy-effort, x-ccproxy-queue-ms, "
    "x-ccproxy-token-count"
)
_MAX_AGE_SECONDS = 600
# 16 characters of a password generator cannot be guessed over a network.
SHORTEST_KEY = 16

# The parameter ``interface`` of an endpoint string: the address to listen on.
_INTERFACE = re.compile(r":interface=((?:\\.|[^:\\])+)")


class HeaderFields(Protocol):
    """The header fields of a request: `twisted.web.http_headers.Headers`."""

    def getRawHeaders(  # noqa: N802  # Twisted's name
        self, name: bytes, default: Sequence[bytes]
    ) -> Sequence[bytes]:
        """Every value of a field."""


def key_id(key: str) -> str:
    """The public id of a key, for logs and counts: eight hexadecimal digits."""
    digest = blake2b(key.encode(), digest_size=_ID_BYTES, person=b"ccproxy key id")
    return digest.hexdigest()


class Authenticator:
    """Checks API keys, and the size and encoding of bodies.

    Args:
        keys: the accepted keys; None: the embedding application checks keys.
        max_body: the largest body, in bytes.
    """

    def __init__(self, keys: Sequence[str] | None, max_body: int) -> None:
        self._ids = (
            None
            if keys is None
            else {_digest(key.encode()): key_id(key) for key in keys}
        )
        self._max_body = max_body

    def check_headers(self, headers: HeaderFields, target: bytes) -> str:
        """Check the key of a request; returns the key's id.

        Args:
            headers: the request's headers; Azure's clients send the key as ``api-key``.
            target: the request target. A key in its query is refused.

        Raises:
            InvalidKey: the message says how to send the key.
        """
        return self.check_key(
            headers.getRawHeaders(b"authorization", []),
            [
                *headers.getRawHeaders(b"x-api-key", []),
                *headers.getRawHeaders(b"api-key", []),
            ],
            is_in_query=bool(_KEY_IN_QUERY.search(target)),
        )

    def check_key(
        self,
        authorization: Sequence[bytes],
        api_keys: Sequence[bytes] = (),
        *,
        is_in_query: bool = False,
    ) -> str:
        """Check the ``Authorization`` and ``x-api-key`` headers; returns the key's id.

        One valid key is enough, because some clients send both headers.

        Keys are looked up by their digest, so that the response time reveals nothing
        about the keys.

        Raises:
            InvalidKey: the message says how to send the key.
        """
        if self._ids is None:
            return NO_KEY
        if not authorization and not api_keys:
            if is_in_query:
                raise InvalidKey(
                    "the key is not taken from the URL, because logs keep URLs; send "
                    "it as the header `Authorization: Bearer KEY`, or `x-api-key: KEY`"
                )
            raise InvalidKey(
                "no API key was sent; send the proxy's key (PROXY_API_KEY) as the "
                "header `Authorization: Bearer KEY`, or `x-api-key: KEY`"
            )
        if len(api_keys) > 1:
            raise InvalidKey("send the key as one header `x-api-key: KEY`")
        candidates = [key.strip() for key in api_keys]
        if authorization:
            candidates += _bearer(authorization, is_alone=not api_keys)
        for candidate in candidates:
            found = self._ids.get(_digest(candidate))
            if found is not None:
                return found
        raise InvalidKey(
            "the API key is wrong; send the key that the proxy was started with "
            "(PROXY_API_KEY), not a key of OpenAI's or Anthropic's"
        )

    def check_size(self, size_bytes: int) -> None:
        """Check the size of a body that was received or announced.

        Args:
            size_bytes: the bytes received so far, or the ``Content-Length``.

        Raises:
            RequestTooLarge: the message names the option that raises the limit.
        """
        if size_bytes > self._max_body:
            raise RequestTooLarge(
                f"the request body is larger than {self._max_body} bytes; "
                "send less, or start the proxy with a larger --max-body"
            )

    def check_encoding(self, encodings: Sequence[bytes]) -> None:
        """Check the ``Content-Encoding`` headers of a request.

        Nothing is decompressed: a body of a few kilobytes can expand to gigabytes.

        Raises:
            UnsupportedEncoding: the body is compressed.
        """
        if any(value.strip().lower() not in (b"", b"identity") for value in encodings):
            raise UnsupportedEncoding(
                "the body is compressed, which this proxy does not support; send it "
                "uncompressed, without Content-Encoding"
            )


def _digest(key: bytes) -> bytes:
    return sha256(key).digest()


def _bearer(authorization: Sequence[bytes], *, is_alone: bool) -> Sequence[bytes]:
    scheme, _, given = authorization[0].decode("latin-1").strip().partition(" ")
    if len(authorization) == 1 and scheme.lower() == _SCHEME:
        return (given.strip().encode("latin-1"),)
    if is_alone:
        raise InvalidKey("send the key as one header `Authorization: Bearer KEY`")
    return ()


class AllowedHosts:
    """The host names that requests may be sent to.

    Args:
        names: names besides ``localhost`` and ``*.localhost``. ``*.example.org`` stands
            for every name below ``example.org``, ``*`` for any name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(_bare(name) for name in (*_LOCAL, *names))

    def check(self, target: bytes, hosts: Sequence[bytes]) -> None:
        """Check the host names in a request.

        Args:
            target: the request target; its absolute form contains a host, too.
            hosts: the ``Host`` headers.

        Raises:
            HostNotAllowed: a host is not allowed; the message names the option.
        """
        named = [host.decode("latin-1").strip() for host in hosts]
        authority = _authority(target)
        if authority is not None:
            named.append(authority)
        for name in named:
            if not self.knows(name):
                raise HostNotAllowed(
                    "the host name in this request is not one of this proxy's; to "
                    "allow the name, start the proxy with --allowed-hosts NAME "
                    "(CCPROXY_ALLOWED_HOSTS)"
                )

    def knows(self, host: str) -> bool:
        """Whether a host, with or without a port, is allowed."""
        name = _bare(host)
        if _ANY in self._names:
            return True
        if not 0 < len(name) <= _LONGEST_NAME:
            return False
        if name in self._names or _is_address(name):
            return True
        labels = name.split(".")
        above = [".".join(labels[place:]) for place in range(1, len(labels))]
        return any(f"*.{parent}" in self._names for parent in above)


def check_syntax(version: bytes, hosts: Sequence[bytes]) -> None:
    """Check that a request has exactly one ``Host`` header, with a valid host.

    Args:
        version: the HTTP version, as in the request line; HTTP/1.0 needs no header.
        hosts: the values of the ``Host`` headers.

    Raises:
        InvalidRequest: there is no ``Host`` header, or several, or the value is neither
            a name nor an address.
    """
    if len(hosts) > 1:
        raise InvalidRequest("there is more than one Host header; send one")
    if not hosts and version != b"HTTP/1.0":
        raise InvalidRequest("there is no Host header, which HTTP/1.1 demands")
    for host in hosts:
        name = _bare(host.decode("latin-1"))
        if name and not (_NAME.match(name) or _is_address(name)):
            raise InvalidRequest("the Host header is neither a name nor an address")


def _bare(host: str) -> str:
    """A name in lower case, without port and final dot."""
    return _PORT.sub("", host.strip()).lower().removesuffix(".")


def _authority(target: bytes) -> str | None:
    match = re.match(rb"https?://([^/?#]*)", target, re.IGNORECASE)
    if match is None:
        return None
    # The part before an @ is not the host.
    return match[1].decode("latin-1").rpartition("@")[2]


def _is_address(name: str) -> bool:
    inner = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    try:
        return (ip_address(inner).version == 6) == (inner != name)
    except ValueError:
        return False


class CORSPolicy:
    """The origins whose pages may use the routes (CORS).

    Args:
        allowed: origins as ``scheme://host:port``; ``*`` stands for all.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(origin.lower() for origin in allowed)

    def allows(self, origins: Sequence[bytes]) -> bool:
        """Whether a request has one ``Origin`` header, with an allowed origin."""
        if len(origins) != 1:
            return False
        own = origins[0].decode("latin-1").strip().lower()
        return _ANY in self._allowed or own in self._allowed

    def headers(self, origins: Sequence[bytes]) -> Mapping[str, str]:
        """The CORS headers of the response to a request.

        Args:
            origins: the ``Origin`` headers of the request.
        """
        if not self._allowed:
            return {}
        # A cache must not give the response for one site to another site.
        vary = {} if _ANY in self._allowed else {"vary": "origin"}
        if not self.allows(origins):
            return vary
        allowed = (
            _ANY if _ANY in self._allowed else origins[0].decode("latin-1").strip()
        )
        return {
            **vary,
            "access-control-allow-origin": allowed,
            "access-control-expose-headers": _EXPOSED,
        }

    def preflight(
        self,
        origins: Sequence[bytes],
        *,
        methods: str,
        wanted: Sequence[bytes],
        is_private: bool,
    ) -> Mapping[str, str]:
        """The headers of the response to a preflight request, besides `headers`.

        Args:
            origins: the ``Origin`` headers of the request.
            methods: the route's methods, separated by commas.
            wanted: the ``Access-Control-Request-Headers`` of the request.
            is_private: whether the request has the header
                ``Access-Control-Request-Private-Network``.
        """
        if not self.allows(origins):
            return {}
        asked = ", ".join(text.decode("latin-1").strip() for text in wanted)
        # A browser does not accept `*` for the header `authorization`.
        names = "authorization, content-type"
        if len(asked) <= _LONGEST and _TOKENS.fullmatch(asked):
            names += f", {asked}"
        headers = {
            "access-control-allow-methods": methods,
            "access-control-allow-headers": names,
            "access-control-max-age": str(_MAX_AGE_SECONDS),
        }
        if is_private:
            headers["access-control-allow-private-network"] = "true"
        return headers


def listened_names(endpoints: Iterable[str]) -> list[str]:
    """The host names and addresses in Twisted's endpoint strings."""
    found = (_INTERFACE.search(endpoint) for endpoint in endpoints)
    return [re.sub(r"\\(.)", r"\1", match[1]) for match in found if match]


def is_reachable(endpoint: str) -> bool:
    """Whether other machines can reach an endpoint; True if that is not certain."""
    if endpoint.startswith("unix:"):
        return False
    names = listened_names([endpoint])
    return not names or not all(map(_is_loopback, names))


def own_names(hostname: str) -> list[str]:
    """The host names by which other machines of the network can reach this machine."""
    short = hostname.partition(".")[0]
    return [hostname, short, f"{short}.local"] if short else []


def check_keys(endpoints: Sequence[str], keys: Sequence[str]) -> None:
    """Check that keys are long enough for endpoints that other machines can reach.

    Raises:
        SettingsError: a key has fewer than `SHORTEST_KEY` characters.
    """
    if not any(len(key) < SHORTEST_KEY for key in keys):
        return
    for endpoint in endpoints:
        if is_reachable(endpoint):
            raise SettingsError(
                f"--api-key: other machines can reach {endpoint}, so every key must "
                f"have at least {SHORTEST_KEY} characters; choose a longer one "
                "(openssl rand -hex 16), or listen on 127.0.0.1"
            )


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
