"""Finds the route's path in the path that a client sends. Pure.

A client appends ``/chat/completions`` or ``/v1/messages`` to the base URL that its
user has entered. Some clients append ``/v1`` to a base URL that already ends with
``/v1``. Others omit it, or end every path with a slash. Azure's clients append
``/openai/v1`` or ``/openai/deployments/NAME`` to the base URL.
"""

# Leading segments that do not distinguish routes.
_PREFIXES = frozenset({b"v1", b"openai", b"anthropic"})
# Former names of segments in OpenAI's API.
_FORMER = {b"engines": b"models"}


def route_path(path: bytes) -> bytes:
    """The path of the route for a request's path; it begins with a slash.

    Repeated and final slashes are removed, and so are all leading segments ``v1``,
    ``openai`` and ``anthropic``. ``engines`` becomes ``models``.

    Args:
        path: the request's path, without the query.
    """
    segments = [segment for segment in path.split(b"/") if segment]
    first = next(
        (at for at, segment in enumerate(segments) if segment not in _PREFIXES),
        len(segments),
    )
    own = segments[first:]
    own[:1] = [_FORMER.get(segment, segment) for segment in own[:1]]
    return b"/" + b"/".join(own)
