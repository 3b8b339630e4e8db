"""Tool names that the Messages API accepts: 1 to 128 letters, digits, _ and -. Pure.

Source: rule 28 of the Messages API.
"""

import re
from hashlib import sha256

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MOST_CHARACTERS = 128
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
# The length of the hash suffix, which keeps two similar names apart.
_HASH_DIGITS = 8


def is_sound(name: str) -> bool:
    """Whether the API accepts a name."""
    return _NAME.fullmatch(name) is not None


def sound_name(name: str) -> str:
    """Make a valid name: ``_`` for other characters, a hash if empty or too long."""
    cleaned = _NOT_IN_NAMES.sub("_", name)
    return cleaned if 0 < len(cleaned) <= _MOST_CHARACTERS else hashed_name(name)


def hashed_name(name: str) -> str:
    """Make a valid name that ends with a hash of ``name``."""
    digest = sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_DIGITS]
    cleaned = _NOT_IN_NAMES.sub("_", name)
    return f"{cleaned[: _MOST_CHARACTERS - _HASH_DIGITS - 1]}_{digest}"
