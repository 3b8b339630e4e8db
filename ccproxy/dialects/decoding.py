"""JSON bodies to typed structs, with errors that a client's user understands."""

import json
import re
from typing import TypeVar

import msgspec

from ccproxy.errors import ClientError, InvalidRequest, MissingParameter

_T = TypeVar("_T")

# msgspec: "Expected `str`, got `int` - at `$.messages[0].role`"
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_json(decoder: msgspec.json.Decoder[_T], body: bytes, *, at: str = "") -> _T:
    """Decode a request body, or a part of one.

    Args:
        decoder: for what is expected.
        body: as it came.
        at: the path of that part.

    Raises:
        ClientError: not UTF-8, not JSON, not Unicode text, or of the wrong shape;
            ``param`` is the path where it is known.
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
        if _has_lone_surrogate(body):
            raise InvalidRequest(
                "the body has half a surrogate pair in it (\\ud800 to \\udfff), which "
                "is no character; send well-formed Unicode"
            ) from None
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


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


def _has_lone_surrogate(body: bytes) -> bool:
    try:
        text = json.dumps(json.loads(body.decode()), ensure_ascii=False)
    except (ValueError, RecursionError):
        return False
    return _SURROGATE.search(text) is not None
