"""Decodes JSON bodies to structs, and notes what is not sent as it came. Pure.

Errors name the client's field.

Many models refuse ``temperature`` and the like; `ccproxy.claude.body.options` decides
that, where the model is known.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from attrs import Factory, define, field
from msgspec import Raw, UnsetType

from ccproxy.core.encoding import without_halves
from ccproxy.core.errors import ClientError, InvalidRequest, MissingParameter

_T = TypeVar("_T")

# msgspec: "Expected `str`, got `int` - at `$.messages[0].role`"
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"

_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
# Above this number, JSON readers with binary64 numbers do not agree on integers.
_LARGEST_NUMBER = 2**53


def read_body(body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The body without what JSON readers disagree on, and the paths of changed texts.

    A byte order mark is removed. Half a surrogate pair becomes U+FFFD; clients that cut
    a text within a character send one.

    Args:
        body: JSON, as it came.

    Raises:
        InvalidRequest: it is not UTF-8. Parts that are never decoded are checked, too.
    """
    body = body.removeprefix(_BOM)
    try:
        body.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("the body is not UTF-8") from None
    mended = without_halves(body)
    return mended, () if mended is body else tuple(_halves(body))


def _halves(body: bytes) -> Iterator[str]:
    """The paths of the texts with half a surrogate pair in them."""
    try:
        yield from _walk(json.loads(body), "")
    except (ValueError, RecursionError):
        # The body is decoded again later, and fails there with a better error.
        return


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
    """Decode a request body, or a part of one.

    Args:
        decoder: for what is expected.
        body: as it came.
        at: the path of that part.

    Raises:
        ClientError: not UTF-8, not JSON, or of the wrong shape; ``param`` is the path
            where it is known.
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
    """Decode a request body to its top-level fields, each as it came.

    Fields that are ``null`` are left out; ``null`` means the same as absent.

    Args:
        body: as `read_body` gives it.

    Raises:
        ClientError: not JSON, or no object.
    """
    fields = decode_json(_fields_decoder, body)
    return {name: raw for name, raw in fields.items() if not is_null(raw)}


def is_null(raw: msgspec.Raw) -> bool:
    """Whether some JSON is ``null``. Long JSON is not copied for that."""
    return len(memoryview(raw)) == len(b"null") and bytes(raw) == b"null"


def required(value: _T | UnsetType | None, param: str) -> _T:
    """A value that the request has to have.

    Args:
        value: as it was decoded.
        param: its path in the request.

    Raises:
        MissingParameter: it is absent or null.
    """
    if value is None or isinstance(value, UnsetType):
        raise MissingParameter(f"`{param}` is missing", param=param)
    return value


@contextmanager
def located(at: str) -> Iterator[None]:
    """Turn msgspec's errors about a part of the request into a `ClientError`.

    Args:
        at: the path of that part.

    Raises:
        ClientError: instead of a `msgspec.ValidationError`; ``param`` is the path.
    """
    try:
        yield
    except msgspec.ValidationError as error:
        raise _shape_error(str(error), at) from None


def _shape_error(text: str, at: str) -> ClientError:
    match = _AT.match(text)
    what, path = (match["what"], match["path"]) if match else (text, None)
    param = (at + (path or "").removeprefix("$")).removeprefix(".")
    missing = _MISSING.match(what)
    if missing:
        field = ".".join(part for part in (param, missing["field"]) if part)
        return MissingParameter(f"`{field}` is missing", param=field)
    where = f"`{param}`: " if param else ""
    return InvalidRequest(f"{where}{what}", param=param or None)


@define
class Adjustments:
    """Filled while a request is decoded. Each path is noted once."""

    _ignored: dict[str, None] = field(init=False, default=Factory(dict))
    _adjusted: dict[str, None] = field(init=False, default=Factory(dict))
    _web_searches: dict[str, None] = field(init=False, default=Factory(dict))

    @property
    def ignored(self) -> tuple[str, ...]:
        """The client's paths of fields without effect, such as ``seed``."""
        return tuple(self._ignored)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """The client's paths of fields that are sent in another form."""
        return tuple(self._adjusted)

    @property
    def web_searches(self) -> tuple[str, ...]:
        """The client's paths of ``MessagesRequest.web_search_paths``."""
        return tuple(self._web_searches)

    def ignore(self, *paths: str) -> None:
        """Note fields that have no effect."""
        self._ignored |= dict.fromkeys(paths)

    def adjust(self, *paths: str) -> None:
        """Note fields that are sent in another form."""
        self._adjusted |= dict.fromkeys(paths)

    def is_adjusted(self, path: str) -> bool:
        """Whether a field is noted as sent in another form."""
        return path in self._adjusted

    def search_web(self, path: str) -> None:
        """Note a field that lets the model search the web by itself."""
        self._web_searches[path] = None


def sampling_fields(request: object, names: Sequence[str]) -> Mapping[str, Raw]:
    """The sampling fields of a request.

    Args:
        request: has the fields as attributes; None means absent.
        names: of number fields.

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
