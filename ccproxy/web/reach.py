"""From how far away a port can be reached, and what that asks of the keys. Pure."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from ccproxy.config.settings import SettingsError

# 16 characters of a password generator cannot be guessed over a network.
SHORTEST_KEY = 16

# What an endpoint string of Twisted's says of the address to listen on.
_INTERFACE = re.compile(r":interface=((?:\\.|[^:\\])+)")


def listened_names(endpoints: Iterable[str]) -> list[str]:
    """The names and addresses in endpoint strings of Twisted's."""
    found = (_INTERFACE.search(endpoint) for endpoint in endpoints)
    return [re.sub(r"\\(.)", r"\1", match[1]) for match in found if match]


def is_reachable(endpoint: str) -> bool:
    """Whether other machines can reach what listens there; if in doubt, they can."""
    if endpoint.startswith("unix:"):
        return False
    names = listened_names([endpoint])
    return not names or not all(map(_is_loopback, names))


def own_names(hostname: str) -> list[str]:
    """What a machine of that name is called in its own network."""
    short = hostname.partition(".")[0]
    return [hostname, short, f"{short}.local"] if short else []


def check_keys(endpoints: Sequence[str], keys: Sequence[str]) -> None:
    """Check that nobody on the network can guess a key.

    Raises:
        SettingsError: it is too short for where it would be listened.
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
