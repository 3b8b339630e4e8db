"""Whether other machines can reach an endpoint, and how long its keys must be. Pure."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from ccproxy.config.settings import SettingsError

# 16 characters of a password generator cannot be guessed over a network.
SHORTEST_KEY = 16

# The address to listen on, in an endpoint string.
_INTERFACE = re.compile(r":interface=((?:\\.|[^:\\])+)")


def listened_names(endpoints: Iterable[str]) -> list[str]:
    """The host names and addresses in Twisted's endpoint strings."""
    found = (_INTERFACE.search(endpoint) for endpoint in endpoints)
    return [re.sub(r"\\(.)", r"\1", match[1]) for match in found if match]


def is_reachable(endpoint: str) -> bool:
    """Whether other machines can reach an endpoint; in doubt, they can."""
    if endpoint.startswith("unix:"):
        return False
    names = listened_names([endpoint])
    return not names or not all(map(_is_loopback, names))


def own_names(hostname: str) -> list[str]:
    """The names of a machine in its own network."""
    short = hostname.partition(".")[0]
    return [hostname, short, f"{short}.local"] if short else []


def check_keys(endpoints: Sequence[str], keys: Sequence[str]) -> None:
    """Check that no key can be guessed over a network.

    Raises:
        SettingsError: a key is too short for an endpoint that others can reach.
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
