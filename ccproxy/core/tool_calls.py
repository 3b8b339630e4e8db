"""Makes tool names, ids and arguments of calls that the Messages API accepts. Pure.

A name has 1 to 128 letters, digits, _ and -. Arguments are a JSON object:

====================================  =============================================
arguments                             object
====================================  =============================================
the JSON of an object                 that object
a JSON string with such a JSON text   that object: some clients encode twice
``null``, or white space              ``{}``
any other text                        ``{"arguments": "…"}``, with that text
====================================  =============================================

A lone surrogate becomes U+FFFD in each case.

Source: rules 6, 11 and 28 of the Messages API.
"""

import re
from hashlib import sha256

import msgspec
from msgspec import Raw

from ccproxy.core.blocks import ToolUse
from ccproxy.core.encoding import without_halves

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MOST_CHARACTERS = 128
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
# Some clients put a signature of some kilobytes into an id. The rest of a longer id is
# left out: to replace characters in a text of megabytes holds the GIL for seconds.
_LONGEST_ID = 2**16
# The length of the hash suffix, which keeps two similar names apart.
_HASH_DIGITS = 8

NOTHING = Raw(b"{}")
_FIELD = "arguments"

_encode = msgspec.json.Encoder().encode
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_text = msgspec.json.Decoder(str | None).decode


def arguments_object(text: str) -> tuple[Raw, bool]:
    """Convert the text of a call's arguments to an object.

    Returns:
        The object, and whether ``text`` was already the JSON of that object.
    """
    given = text.encode()
    body = without_halves(given)
    if _is_object(body):
        return Raw(body.strip()), body is given
    if not text.strip():
        return NOTHING, False
    try:
        inner = _decode_text(body)
    except (msgspec.DecodeError, RecursionError):
        return wrapped(text), False
    if inner is None:
        return NOTHING, False
    body = without_halves(inner.encode())
    return (Raw(body.strip()) if _is_object(body) else wrapped(text)), False


def given_arguments(call: ToolUse) -> str:
    """The arguments in the start of a call's block, as JSON; an empty text for ``{}``.

    In a stream, a call starts with ``{}``, and deltas add its arguments.
    """
    given = bytes(call.input)
    return "" if given == bytes(NOTHING) else given.decode()


def wrapped(value: object) -> Raw:
    """Wrap arguments that are not an object: ``{"arguments": value}``."""
    return Raw(_encode({_FIELD: value}))


def _is_object(body: bytes) -> bool:
    try:
        # Numbers are not decoded: ``1e400`` is valid JSON, but too large for a float.
        _decode_object(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def is_sound(name: str) -> bool:
    """Whether the API accepts a name."""
    return _NAME.fullmatch(name) is not None


def sound_name(name: str) -> str:
    """Make a valid name: ``_`` for other characters, a hash if empty or too long."""
    cleaned = _NOT_IN_NAMES.sub("_", name[: _MOST_CHARACTERS + 1])
    return cleaned if 0 < len(cleaned) <= _MOST_CHARACTERS else hashed_name(name)


def hashed_name(name: str) -> str:
    """Make a valid name that ends with a hash of ``name``."""
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    start = name[: _MOST_CHARACTERS - _HASH_DIGITS - 1]
    return f"{_NOT_IN_NAMES.sub('_', start)}_{digest}"


def sound_id(identifier: str) -> str:
    """Make a valid id of a call: ``_`` for other characters; never empty."""
    return _NOT_IN_NAMES.sub("_", identifier[:_LONGEST_ID]) or "call"


class UniqueIds:
    """Makes the ids of a request's calls valid and unique.

    Equal histories get equal ids.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._tries: dict[str, int] = {}

    def take(self, identifier: str) -> str:
        """The id itself if it is valid and free; otherwise a similar id."""
        base = candidate = sound_id(identifier)
        while not self.is_free(candidate):
            self._tries[base] = self._tries.get(base, 1) + 1
            candidate = f"{base}-{self._tries[base]}"
        self._taken.add(candidate)
        return candidate

    def is_free(self, candidate: str) -> bool:
        """Whether no other call can be confused with a call of this id."""
        return candidate not in self._taken
