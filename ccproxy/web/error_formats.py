"""In which API's words a client is told an error.

Anthropic's for whoever asks as Anthropic's clients do: by its route, or with the header
that its API demands of everybody; OpenAI's for all others. It is known as soon as the
headers are there, because the server refuses before there is a route.
"""

import re
from collections.abc import Callable

from attrs import frozen
from twisted.web.http_headers import Headers

from ccproxy.core.errors import CCProxyError
from ccproxy.web.anthropic_error import anthropic_error, anthropic_status
from ccproxy.web.openai_error import error_document

_VERSION = b"anthropic-version"
_ROUTE = re.compile(rb"(?:^|/)messages(?:/|$)")


@frozen
class ErrorFormat:
    """How errors are told.

    Attributes:
        status: the HTTP status of one.
        document: its body, by the error and the request's id.
        id_header: where the client looks for that id, besides ``x-request-id``.
    """

    status: Callable[[CCProxyError], int]
    document: Callable[[CCProxyError, str], bytes]
    id_header: str | None = None


OPENAI = ErrorFormat(lambda error: error.status, lambda error, _: error_document(error))
ANTHROPIC = ErrorFormat(anthropic_status, anthropic_error, "request-id")


def is_anthropic(headers: Headers) -> bool:
    """Whether a client says that it speaks Anthropic's API."""
    return headers.hasHeader(_VERSION)


def shape_of(target: bytes, headers: Headers) -> ErrorFormat:
    """The shape for a request.

    Args:
        target: its path, with its query or without.
        headers: its headers.
    """
    if is_anthropic(headers) or _ROUTE.search(target.partition(b"?")[0]):
        return ANTHROPIC
    return OPENAI
