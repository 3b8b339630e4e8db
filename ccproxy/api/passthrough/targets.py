"""Finds the server and the key for each route of ``--passthrough``. Pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import unquote_to_bytes

from attrs import field, frozen

from ccproxy.config.parsers import PassthroughOption, api_key
from ccproxy.config.settings import SettingsError

# A segment `..`, perhaps followed by characters that some servers ignore: `..;a`,
# `..%00`.
_PARENT = re.compile(rb"(?:^|[/\\])[ \t\r\n]*\.\.(?![\w.-])")
# Some servers decode a path more than once.
_DECODINGS = 3


@frozen(kw_only=True)
class Target:
    """A server to which requests are forwarded.

    Attributes:
        url: the base URL, without a final slash.
        key: sent as ``Authorization: Bearer``; empty: no key is sent.
    """

    url: bytes
    key: str = field(default="", repr=False)


def has_parent(path: bytes) -> bool:
    """Whether a server may read a path as one with a segment ``..``.

    With such a path, a client could reach routes above the target's URL.

    Args:
        path: the path, percent-encoded.
    """
    for _ in range(_DECODINGS):
        if _PARENT.search(path):
            return True
        path = unquote_to_bytes(path)
    return _PARENT.search(path) is not None


def targets_of(
    options: Sequence[PassthroughOption],
    environment: Mapping[str, str],
    names: Collection[str],
) -> Mapping[str, Target]:
    """The servers, by the first segments of the routes' paths.

    Args:
        options: the values of ``--passthrough``.
        environment: the environment variables; some contain keys.
        names: the first segments of all routes that can be forwarded.

    Raises:
        SettingsError: an option names an unknown route, a route is named twice, or a
            key is missing from the environment.
    """
    targets: dict[str, Target] = {}
    for option in options:
        if option.name not in names:
            known = ", ".join(f"/{name}" for name in sorted(names))
            raise SettingsError(
                f"--passthrough: there is no route /{option.name}; there are {known}"
            )
        if option.name in targets:
            raise SettingsError(f"--passthrough: /{option.name} is named twice")
        key = ""
        if option.variable:
            try:
                key = api_key(environment.get(option.variable, ""))
            except ValueError as error:
                raise SettingsError(
                    f"--passthrough: {option.variable}, the variable with the key for "
                    f"/{option.name}: {error}"
                ) from None
        targets[option.name] = Target(url=option.url.encode("ascii"), key=key)
    return targets
