"""The provider's errors, with the client's names of the fields. Pure.

The provider's message begins with a path in the body (``messages.3.content.1.text``);
the error's ``param`` has the same path.
"""

from collections.abc import Mapping

from ccproxy.claude.body.paths import client_path
from ccproxy.core.errors import CCProxyError


def with_client_paths(error: CCProxyError, paths: Mapping[str, str]) -> CCProxyError:
    """The error with the client's path in ``param`` and at the message's start.

    A path that the client's request does not have is left out.

    Args:
        error: the worker's error.
        paths: `ComposedBody.paths` of the request.
    """
    if error.param is None:
        return error
    if "." in error.param:
        param = client_path(paths, error.param)
    else:
        param = paths.get(error.param, error.param)
    message = error.message
    if param is not None and message.startswith(error.param):
        message = param + message[len(error.param) :]
    return type(error)(
        message,
        param=param,
        retry_after_seconds=error.retry_after_seconds,
        cause=error.cause,
    )
