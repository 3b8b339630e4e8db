"""Prepares responses: documents, error documents, and headers."""

import re
from collections.abc import Mapping, Sequence
from math import ceil
from urllib.parse import quote
from uuid import uuid4

from twisted.web.server import Request

from ccproxy.core.backend import PreparedQuestion, TokenCount
from ccproxy.core.errors import CCProxyError, InvalidKey, unsupported
from ccproxy.web.error_formats import format_of

JSON = "application/json"
_REQUEST_ID = "x-request-id"
_UNAUTHORIZED, _TOO_MANY, _INTERNAL = 401, 429, 500
# Not allowed in a path: characters that are not printable ASCII, and the comma, which
# separates paths.
_NO_HEADER = re.compile("[^ -~]|,")
_MOST_PATHS_CHARACTERS = 2000
# Headers that list the client's paths of fields.
IGNORED, ADJUSTED = "x-ccproxy-ignored", "x-ccproxy-adjusted"


def new_request_id() -> str:
    """A new id for a request; it is sent in the response, and logged."""
    return f"req_{uuid4().hex}"


def request_id(request: Request) -> str:
    """The id of a request; the first call sets the response's ``x-request-id``."""
    known = request.responseHeaders.getRawHeaders(_REQUEST_ID)
    if known:
        return known[0]
    identifier = new_request_id()
    request.setHeader(_REQUEST_ID, identifier)
    return identifier


def base_url(request: Request) -> str:
    """The URL of the routes as the client knows it, without a final slash."""
    scheme = "https" if request.isSecure() else "http"
    host = request.requestHeaders.getRawHeaders(b"host", [b""])[0].strip()
    authority = host.decode("latin-1") or request.getRequestHostname().decode("latin-1")
    mounted = b"/".join(segment for segment in request.prepath or () if segment)
    return f"{scheme}://{authority}/{quote(mounted)}".rstrip("/")


def error_headers(error: CCProxyError) -> Mapping[str, str]:
    """The headers of an error response."""
    headers = {"content-type": JSON}
    if isinstance(error, InvalidKey):
        headers["www-authenticate"] = "Bearer"
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, ceil(error.retry_after_seconds)))
    if not error.should_retry and _is_repeated(error.status):
        headers["x-should-retry"] = "false"
    return headers


def _is_repeated(status: int) -> bool:
    """Whether clients repeat a request that gets this status.

    Claude Code repeats a request after 401 for minutes, the SDKs do not.
    """
    return status in (_UNAUTHORIZED, _TOO_MANY) or status >= _INTERNAL


def json_response(request: Request, document: bytes) -> bytes:
    """Prepare a response of one JSON document; returns it for Klein to send."""
    return text_response(request, document, JSON)


def text_response(
    request: Request, text: bytes, kind: str = "text/plain; charset=utf-8"
) -> bytes:
    """Prepare a response of one text; returns it for Klein to send.

    Args:
        request: its response headers are set.
        text: the body.
        kind: the media type of the body.
    """
    request.setHeader("content-type", kind)
    request.setHeader("content-length", str(len(text)))
    return text


def set_question_headers(
    request: Request,
    question: PreparedQuestion,
    *,
    effort: str | None = None,
    ignored: Sequence[str] = (),
    adjusted: Sequence[str] = (),
) -> None:
    """Set the headers that tell the client how its request was changed.

    ========================  =======================================================
    ``x-ccproxy-ignored``     the fields that have no effect
    ``x-ccproxy-adjusted``    the fields that are sent in another form
    ``x-ccproxy-effort``      the effort that is sent, if the client asked for another
    ========================  =======================================================

    Args:
        request: its response headers are set.
        question: the prepared request.
        effort: the effort that the client asked for; None: it asked for none.
        ignored: paths of fields that the API's decoder left out.
        adjusted: paths of fields that the API's decoder changed.
    """
    add_paths(request, IGNORED, (*ignored, *question.ignored))
    set_adjusted_header(request, (*adjusted, *question.adjusted))
    given = question.effort or "default"
    if effort is not None and effort != given:
        request.setHeader("x-ccproxy-effort", given)


def refuse_ignored(paths: Sequence[str]) -> None:
    """Refuse a request if a field of it has no effect (``--strict``).

    Args:
        paths: the paths that `set_question_headers` would report as ignored.

    Raises:
        UnsupportedValue: there is a path; ``param`` is the first.
    """
    if paths:
        unsupported(
            paths[0], "it has no effect, and the server refuses such fields (--strict)"
        )


def set_count_headers(
    request: Request,
    count: TokenCount,
    ignored: Sequence[str],
    adjusted: Sequence[str],
) -> None:
    """Set ``x-ccproxy-token-count``: whether a count of tokens is exact.

    Args:
        request: its response headers are set.
        count: the count.
        ignored: paths of fields that are not counted.
        adjusted: paths of fields that are counted in another form.
    """
    add_paths(request, IGNORED, ignored)
    add_paths(request, ADJUSTED, adjusted)
    request.setHeader(
        "x-ccproxy-token-count", "exact" if count.is_exact else "estimated"
    )


def add_paths(request: Request, name: str, paths: Sequence[str]) -> None:
    """Add a line to a header that lists the client's paths of fields; none: no line."""
    if not paths:
        return
    shown: list[str] = []
    room = _MOST_PATHS_CHARACTERS
    for path in dict.fromkeys(paths):
        # A path can contain names that the client chose, with any characters.
        shown.append(_NO_HEADER.sub("?", path[:_MOST_PATHS_CHARACTERS]))
        room -= len(path) + 2
        if room < 0:
            shown[-1] = "..."
            break
    request.responseHeaders.addRawHeader(name, ", ".join(shown))


def set_adjusted_header(request: Request, paths: Sequence[str]) -> None:
    """Set ``x-ccproxy-adjusted``: paths of the fields that are sent in another form."""
    add_paths(request, ADJUSTED, paths)


def set_queue_header(request: Request, seconds: float) -> None:
    """Set ``x-ccproxy-queue-ms``: how long the request waited for a process."""
    request.setHeader("x-ccproxy-queue-ms", str(round(1000 * seconds)))


def error_response(request: Request, error: CCProxyError) -> bytes:
    """Prepare an error response; returns its document for Klein to send."""
    error_format = format_of(request.uri, request.requestHeaders)
    identifier = request_id(request)
    request.setResponseCode(error_format.status(error))
    for name, value in error_headers(error).items():
        request.setHeader(name, value)
    if error_format.id_header is not None:
        request.setHeader(error_format.id_header, identifier)
    document = error_format.document(error, identifier)
    request.setHeader("content-length", str(len(document)))
    return document
