"""The path of a route, for each path under which clients look for it. Pure.

A client appends ``/chat/completions`` or ``/v1/messages`` to the base URL that its
user has entered. Some clients append ``/v1`` to a base URL that already ends with it,
some leave it out, and some end every path with a slash. Azure's clients append
``/openai/v1`` or ``/openai/deployments/NAME`` to the base URL.
"""

# Leading segments that do not distinguish routes.
_PREFIXES = frozenset({b"v1", b"openai", b"anthropic"})
# OpenAI's former name of the models.
_FORMER = {b"engines": b"models"}


def route_path(path: bytes) -> bytes:
    """The path of the route that a request is for, with a leading slash.

    Needless slashes and any number of the leading segments ``v1``, ``openai`` and
    ``anthropic`` are left out. ``engines`` is read as ``models``.

    Args:
        path: of the request, without the query; decoded or not.
    """
    segments = [segment for segment in path.split(b"/") if segment]
    first = next(
        (at for at, segment in enumerate(segments) if segment not in _PREFIXES),
        len(segments),
    )
    own = segments[first:]
    own[:1] = [_FORMER.get(segment, segment) for segment in own[:1]]
    return b"/" + b"/".join(own)
