"""The provider's errors, with the client's own names for what they are about. Pure.

The provider names a place in the body (``messages.3.content.1.text``) at the beginning
of its message; ``param`` of the error has the same.
"""

from collections.abc import Mapping

from ccproxy.claude.body.paths import client_path
from ccproxy.core.errors import CCProxyError


def with_client_paths(error: CCProxyError, paths: Mapping[str, str]) -> CCProxyError:
    """An error whose path, in ``param`` and at the message's start, is the client's.

    A place that the client knows nothing of is not named.

    Args:
        error: as the worker tells it.
        paths: `ComposedBody.paths` of what was asked.
    """
    if error.param is None:
        return error
    if "." in error.param:
        told = client_path(paths, error.param)
    else:
        told = paths.get(error.param, error.param)
    message = error.message
    if told is not None and message.startswith(error.param):
        message = told + message[len(error.param) :]
    return type(error)(
        message, param=told, retry_after_seconds=error.retry_after_seconds
    )
