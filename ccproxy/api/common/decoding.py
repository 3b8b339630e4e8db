"""Decodes JSON bodies to structs, and records which fields are changed. Pure.

Errors name the path of the field in the client's request.
"""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from attrs import frozen
from msgspec import Raw, UnsetType

from ccproxy.core.encoding import has_halves, without_halves
from ccproxy.core.errors import (
    ClientError,
    InvalidRequest,
    MissingParameter,
    RequestTooLarge,
    shortened,
)
from ccproxy.core.json_text import has_more_values, with_short_strings
from ccproxy.core.messages import MessagesRequest

_T = TypeVar("_T")

# A message of msgspec: "Expected `str`, got `int` - at `$.messages[0].role`"
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"
_HALF = rb'"\ud800"'
_SLICE_BYTES = 2**20
_LONG_STRING = 2**12
# The most JSON values of a body. A prompt of a million tokens usually has fewer. To
# decode them takes less than 0.1 s, during which no other Python code runs.
MOST_VALUES = 300_000

_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
# JSON readers that use binary64 numbers cannot represent all larger integers.
_LARGEST_NUMBER = 2**53


def read_body(body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Correct a body that some JSON readers refuse.

    A byte order mark is removed. An unpaired surrogate is replaced by U+FFFD; clients
    send one if they cut a text within a character.

    Args:
        body: the body of a request.

    Returns:
        The corrected body, and the paths of the texts with replaced surrogates.

    Raises:
        InvalidRequest: the body is not UTF-8. Parts that are never decoded are checked,
            too.
        RequestTooLarge: the body has more than `MOST_VALUES` values.
    """
    body = body.removeprefix(_BOM)
    _check_utf8(body)
    if has_more_values(body, MOST_VALUES):
        raise RequestTooLarge(
            f"the body has more than {MOST_VALUES:,} JSON values (texts, numbers, "
            "lists and objects); send a shorter conversation, or long data as one text"
        )
    mended = without_halves(body)
    return mended, () if mended is body else tuple(_halves(body))


def _check_utf8(body: bytes) -> None:
    # In slices, because a decoded text with one emoji takes four bytes per character.
    decoder = getincrementaldecoder("utf-8")()
    try:
        for begin in range(0, len(body) + 1, _SLICE_BYTES):
            end = begin + _SLICE_BYTES
            decoder.decode(body[begin:end], final=end > len(body))
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None


def _halves(body: bytes) -> Iterator[str]:
    """The paths of the texts that contain an unpaired surrogate."""
    # Long strings are replaced, because Python's decoder is slow at escapes.
    short = with_short_strings(body, _LONG_STRING, _half_of)
    try:
        yield from _walk(json.loads(short), "")
    except (ValueError, RecursionError):
        # The body is decoded again later. The error is clearer there.
        return


def _half_of(string: bytes) -> bytes:
    """The replacement of a long string: an unpaired surrogate if it has one."""
    return _HALF if has_halves(string) else b'""'


def _walk(value: Any, at: str) -> Iterator[str]:
    match value:
        case str() if _SURROGATE.search(value):
            yield at
        case list(values):
            for index, inner in enumerate(values):
                yield from _walk(inner, f"{at}[{index}]")
        case dict():
            for name, inner in value.items():
                if _SURROGATE.search(name):
                    yield at or "body"
                else:
                    yield from _walk(inner, f"{at}.{name}" if at else name)


def decode_json(decoder: msgspec.json.Decoder[_T], body: bytes, *, at: str = "") -> _T:
    """Decode a request body, or a part of a body.

    Args:
        decoder: a decoder for the expected type.
        body: the JSON.
        at: the path of the part in the request; empty: the whole body.

    Raises:
        ClientError: the body is not UTF-8, not JSON, or not of the expected type;
            ``param`` is the path of the error if it is known.
    """
    if not body.strip():
        raise InvalidRequest("the request has no body; send a JSON object")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _shape_error(str(error), at) from None
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


def decode_fields(body: bytes) -> dict[str, msgspec.Raw]:
    """Decode a request body to its top-level fields, whose values stay undecoded.

    Fields that are ``null`` are left out, because ``null`` means the same as absent.

    Args:
        body: a body that `read_body` returned.

    Raises:
        ClientError: the body is not JSON, or not an object.
    """
    fields = decode_json(_fields_decoder, body)
    return {name: raw for name, raw in fields.items() if not is_null(raw)}


def is_null(raw: msgspec.Raw) -> bool:
    """Whether undecoded JSON is ``null``. The JSON is not copied."""
    return len(memoryview(raw)) == len(b"null") and bytes(raw) == b"null"


def required(value: _T | UnsetType | None, param: str) -> _T:
    """Check that a required value is present; returns the value.

    Args:
        value: the decoded value.
        param: the path of the value in the request.

    Raises:
        MissingParameter: the value is absent or null.
    """
    if value is None or isinstance(value, UnsetType):
        raise MissingParameter(f"`{param}` is missing", param=param)
    return value


@contextmanager
def located(at: str) -> Iterator[None]:
    """Convert `msgspec.ValidationError` in the block to a `ClientError`.

    Args:
        at: the path of the decoded part in the request.

    Raises:
        ClientError: ``param`` is the path of the error.
    """
    try:
        yield
    except msgspec.ValidationError as error:
        raise _shape_error(str(error), at) from None


def _shape_error(text: str, at: str) -> ClientError:
    text = shortened(text)
    match = _AT.match(text)
    what, path = (match["what"], match["path"]) if match else (text, None)
    param = (at + (path or "").removeprefix("$")).removeprefix(".")
    missing = _MISSING.match(what)
    if missing:
        field = ".".join(part for part in (param, missing["field"]) if part)
        return MissingParameter(f"`{field}` is missing", param=field)
    where = f"`{param}`: " if param else ""
    return InvalidRequest(f"{where}{what}", param=param or None)


def sampling_fields(request: object, names: Sequence[str]) -> Mapping[str, Raw]:
    """The sampling fields of a request as JSON.

    Whether the model accepts them is decided later: `ccproxy.claude.body.options`.

    Args:
        request: a struct with the fields as attributes; None: the field is absent.
        names: the names of the fields, whose values are numbers.

    Raises:
        InvalidRequest: a number is too large.
    """
    given = {name: getattr(request, name) for name in names}
    return {
        name: _number(value, name) for name, value in given.items() if value is not None
    }


def _number(value: float, param: str) -> Raw:
    if abs(value) > _LARGEST_NUMBER:
        raise InvalidRequest(f"`{param}` is too large", param=param)
    return Raw(msgspec.json.encode(value))


@frozen(kw_only=True)
class DecodedRequest:
    """A decoded request; each API has a subclass.

    Attributes:
        request: the request of the Messages API.
        stream: whether the client wants a stream.
        ignored: the paths of fields that have no effect.
        adjusted: the paths of fields that are sent in another form.
    """

    request: MessagesRequest
    stream: bool
    ignored: tuple[str, ...]
    adjusted: tuple[str, ...]
