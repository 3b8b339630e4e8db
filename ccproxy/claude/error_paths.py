"""The provider's errors, with the client's own names for what they are about. Pure.

The provider names a place in the body (``messages.3.content.1.text``) at the beginning
of its message; ``param`` of the error has the same. The composer knows where the parts
of the body come from; a part below them has the name that it has in the API.

Source: error texts of the Messages API; tags of its unions (``custom``, the types of
blocks) stand in paths behind the item that they belong to.
"""

import re
from collections.abc import Mapping

from ccproxy.errors import CCProxyError

_PATH = re.compile(r"[a-z_]+(?:\.[\w-]+)*", re.ASCII)
# Behind the number of an item: which of the union's types it is, no field of it.
_TAGS = frozenset(
    (
        *("custom", "text", "image", "document", "tool_use", "tool_result"),
        *("thinking", "redacted_thinking", "base64", "url", "enabled", "adaptive"),
        *(
            "disabled",
            "auto",
            "any",
            "tool",
            "none",
            "str",
            "list",
            "RequestImageBlock",
        ),
    )
)


def client_path(path: str, paths: Mapping[str, str]) -> str:
    """A path in the body as the client names it.

    Args:
        path: as the provider names it.
        paths: from paths in the body to the client's; see `ComposedBody.paths`.
    """
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        known = paths.get(".".join(parts[:length]))
        if known is not None:
            return known + _below(parts[length - 1], parts[length:])
    return _below("", parts).removeprefix(".")


def with_client_paths(error: CCProxyError, paths: Mapping[str, str]) -> CCProxyError:
    """An error whose path, in ``param`` and at the message's start, is the client's."""
    if error.param is None:
        return error
    told = client_path(error.param, paths)
    message = error.message
    if message.startswith(error.param):
        message = told + message[len(error.param) :]
    return type(error)(
        message, param=told, retry_after_seconds=error.retry_after_seconds
    )


def leading_path(message: str) -> str | None:
    """The path that a message of the provider's begins with, if it does."""
    path, colon, _ = message.partition(": ")
    return path if colon and _PATH.fullmatch(path) else None


def _below(parent: str, parts: list[str]) -> str:
    """The rest of a path, behind one of its parts."""
    text = ""
    for position, part in enumerate(parts):
        # A tag stands behind an item of a list, and is no place if more follows.
        is_last = position == len(parts) - 1
        if parent.isdecimal() and part in _TAGS and not is_last:
            parent = ""
            continue
        text += f"[{part}]" if part.isdecimal() else f".{part}"
        parent = part
    return text
