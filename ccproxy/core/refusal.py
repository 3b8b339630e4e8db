"""How the APIs refuse what cannot be done."""

from typing import NoReturn

from ccproxy.core.errors import UnsupportedValue


def unsupported(param: str, why: str) -> NoReturn:
    """Refuse what the answer cannot honestly do without.

    Raises:
        UnsupportedValue: always.
    """
    raise UnsupportedValue(f"`{param}` is not supported: {why}", param=param)
