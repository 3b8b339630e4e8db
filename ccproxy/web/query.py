"""Reads parameters of a request's query string."""

from twisted.web.server import Request

from ccproxy.core.errors import InvalidRequest

_LONGEST_PAGE = 100
_DEFAULT_PAGE = 20
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}


def text(request: Request, name: str) -> str | None:
    """A parameter, the last one if it is repeated; None if it is missing."""
    found = _all(request, name)
    return found[-1] if found else None


def several(request: Request, name: str) -> tuple[str, ...]:
    """All values of a parameter, whose name may end with ``[]``."""
    return (*_all(request, name), *_all(request, f"{name}[]"))


def boolean(request: Request, name: str) -> bool:
    """A boolean parameter; False if it is missing.

    Raises:
        InvalidRequest: the value is not ``true``, ``false``, ``1``, ``0`` or empty.
    """
    given = text(request, name)
    if given is None:
        return False
    if given.lower() not in _BOOLEANS:
        raise InvalidRequest(f"`{name}` must be true or false", param=name)
    return _BOOLEANS[given.lower()]


def number(request: Request, name: str, least: int, most: int) -> int | None:
    """An integer parameter; None if it is missing.

    Raises:
        InvalidRequest: the value is not an integer, or is out of bounds.
    """
    given = text(request, name)
    if given is None:
        return None
    # A longer number is always out of bounds, and slow to parse.
    is_number = given.isascii() and given.isdecimal() and len(given) < 20
    if not is_number or not least <= int(given) <= most:
        raise InvalidRequest(
            f"`{name}` must be a whole number from {least} to {most}", param=name
        )
    return int(given)


def only(request: Request, *names: str) -> None:
    """Check that the request has no other parameters than ``names``.

    Raises:
        InvalidRequest: there is another parameter; the message lists ``names``.
    """
    for name in sorted(request.args or ()):
        given = name.decode("utf-8", "replace")
        if given not in names:
            raise InvalidRequest(
                f"there is no parameter `{given}` here; there are: {', '.join(names)}",
                param=given,
            )


def page(request: Request) -> tuple[str | None, int, bool]:
    """The parameters of a list: ``after``, ``limit``, and whether to sort descending.

    Raises:
        InvalidRequest: a value is wrong.
    """
    order = text(request, "order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be asc or desc", param="order")
    limit = number(request, "limit", 1, _LONGEST_PAGE) or _DEFAULT_PAGE
    return text(request, "after") or None, limit, order == "desc"


def includes(request: Request, name: str) -> bool:
    """Whether ``include`` names an optional part of the response."""
    return name in several(request, "include")


def unknown_item(after: str | None) -> InvalidRequest:
    """The error for an ``after`` that names no existing item."""
    return InvalidRequest(f"`after`: there is no item {after!r} here", param="after")


def _all(request: Request, name: str) -> tuple[str, ...]:
    given = request.args or {}
    return tuple(
        value.decode("utf-8", "replace") for value in given.get(name.encode(), ())
    )
