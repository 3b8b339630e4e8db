"""What a request's query says, checked."""

from twisted.web.server import Request

from ccproxy.core.errors import InvalidRequest

_LONGEST_PAGE = 100
_DEFAULT_PAGE = 20
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}


def text(request: Request, name: str) -> str | None:
    """A parameter; None if it is not there."""
    found = _all(request, name)
    return found[-1] if found else None


def several(request: Request, name: str) -> tuple[str, ...]:
    """A parameter that may be there more than once, with or without ``[]``."""
    return (*_all(request, name), *_all(request, f"{name}[]"))


def boolean(request: Request, name: str) -> bool:
    """A switch, off if it is not there.

    Raises:
        InvalidRequest: it is neither ``true`` nor ``false``.
    """
    given = text(request, name)
    if given is None:
        return False
    if given.lower() not in _BOOLEANS:
        raise InvalidRequest(f"`{name}` must be true or false", param=name)
    return _BOOLEANS[given.lower()]


def number(request: Request, name: str, least: int, most: int) -> int | None:
    """A whole number; None if it is not there.

    Raises:
        InvalidRequest: it is none, or out of bounds.
    """
    given = text(request, name)
    if given is None:
        return None
    # Longer ones are out of all bounds anyway.
    is_number = given.isascii() and given.isdecimal() and len(given) < 20
    if not is_number or not least <= int(given) <= most:
        raise InvalidRequest(
            f"`{name}` must be a whole number from {least} to {most}", param=name
        )
    return int(given)


def only(request: Request, *names: str) -> None:
    """Take these parameters and no others.

    Raises:
        InvalidRequest: there is another; names those that there are.
    """
    for name in sorted(request.args or ()):
        given = name.decode("utf-8", "replace")
        if given not in names:
            raise InvalidRequest(
                f"there is no parameter `{given}` here, but: {', '.join(names)}",
                param=given,
            )


def page(request: Request) -> tuple[str | None, int, bool]:
    """``after``, ``limit`` and whether the order is descending.

    Raises:
        InvalidRequest: one of them is wrong.
    """
    order = text(request, "order") or "desc"
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be asc or desc", param="order")
    limit = number(request, "limit", 1, _LONGEST_PAGE) or _DEFAULT_PAGE
    return text(request, "after") or None, limit, order == "desc"


def includes(request: Request, name: str) -> bool:
    """Whether ``include`` names a part that is otherwise left out."""
    return name in several(request, "include")


def unknown_item(after: str | None) -> InvalidRequest:
    """The error for a page that would begin nowhere."""
    return InvalidRequest(f"`after`: there is no item {after!r} here", param="after")


def _all(request: Request, name: str) -> tuple[str, ...]:
    given = request.args or {}
    return tuple(
        value.decode("utf-8", "replace") for value in given.get(name.encode(), ())
    )
