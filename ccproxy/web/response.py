"""Single responses: JSON documents, and errors."""

from collections.abc import Mapping, Sequence
from math import ceil
from uuid import uuid4

from twisted.web.server import Request

from ccproxy.conversation import Effort
from ccproxy.errors import CCProxyError, InvalidKey
from ccproxy.web.error_shape import shape_of

JSON = "application/json"
_REQUEST_ID = "x-request-id"
_TOO_MANY, _INTERNAL = 429, 500


def new_request_id() -> str:
    """An id that names one request, in the client's hands and in the log."""
    return f"req_{uuid4().hex}"


def request_id(request: Request) -> str:
    """The request's id, which its answer carries as ``x-request-id``."""
    told = request.responseHeaders.getRawHeaders(_REQUEST_ID)
    if told:
        return told[0]
    identifier = new_request_id()
    request.setHeader(_REQUEST_ID, identifier)
    return identifier


def error_headers(error: CCProxyError) -> Mapping[str, str]:
    """The headers that belong to an error."""
    headers = {"content-type": JSON}
    if isinstance(error, InvalidKey):
        headers["www-authenticate"] = "Bearer"
    if error.retry_after_seconds is not None:
        headers["retry-after"] = str(max(1, ceil(error.retry_after_seconds)))
    if not error.should_retry and _is_repeated(error.status):
        headers["x-should-retry"] = "false"
    return headers


def _is_repeated(status: int) -> bool:
    """Whether the SDKs repeat a request of themselves."""
    return status == _TOO_MANY or status >= _INTERNAL


def json_response(request: Request, document: bytes) -> bytes:
    """Prepare a successful answer; returns its body for Klein to send."""
    request.setHeader("content-type", JSON)
    request.setHeader("content-length", str(len(document)))
    return document


def tell_ignored(request: Request, fields: Sequence[str]) -> None:
    """Tell which fields of the request have no effect."""
    if fields:
        request.setHeader("x-ccproxy-ignored", ", ".join(fields))


def tell_effort(request: Request, wanted: str | None, given: Effort | None) -> None:
    """Tell how hard the model thinks, where that is not what the client asked for."""
    told = given.value if given else "default"
    if wanted is not None and wanted != told:
        request.setHeader("x-ccproxy-effort", told)


def tell_queue(request: Request, seconds: float) -> None:
    """Tell how long the question has waited for a CLI."""
    request.setHeader("x-ccproxy-queue-ms", str(round(1000 * seconds)))


def error_response(request: Request, error: CCProxyError) -> bytes:
    """Prepare an error; returns its body for Klein to send."""
    shape = shape_of(request.uri, request.requestHeaders)
    identifier = request_id(request)
    request.setResponseCode(shape.status(error))
    for name, value in error_headers(error).items():
        request.setHeader(name, value)
    if shape.id_header is not None:
        request.setHeader(shape.id_header, identifier)
    document = shape.document(error, identifier)
    request.setHeader("content-length", str(len(document)))
    return document
