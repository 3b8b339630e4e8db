"""What the values of options are: from the operator's text to a value, or a reason.

Each parser raises ValueError with one line for the operator.
"""

import re
from collections.abc import Callable
from math import inf

_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6}
_UNITS |= {"gb": 10**9}
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_LARGEST = 10**15
_LONGEST_SECONDS = 10**8
_MOST_DAYS = 100_000
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_LABELS = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_HOST_NAME = re.compile(rf"\*|(?:\*\.)?{_LABELS}\.?(?::[0-9]{{1,5}})?")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9_.\[\]:-]+")
# What an HTTP header can carry unharmed; anything else could never match.
_KEY = re.compile(r"[\x21-\x7e]+")


def checked_key(text: str) -> str:
    """A key that a header can carry."""
    if not _KEY.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks, and not empty")
    return text


def port(text: str) -> int:
    """A port number."""
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port number (0 to 65535)")
    return int(text)


def size(text: str) -> int:
    """Bytes, with or without a unit."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{text!r} is not a size; write for example 1MiB or 500000")
    size = float(match[1]) * _UNITS[match[2].lower()]
    if not 1 <= size <= _LARGEST:
        raise ValueError("must be from one byte to 1000000GB")
    return int(size)


def duration(text: str) -> float:
    """Seconds, with or without a unit."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _SECONDS:
        raise ValueError(f"{text!r} is not a duration; write for example 90, 90s or 2m")
    seconds = float(match[1]) * _SECONDS[match[2].lower()]
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError("must be more than zero, and less than some years")
    return seconds


def count(text: str) -> int:
    """A number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a number from 1 up")
    return int(text)


def count_or_none(text: str) -> int:
    """A number from 0 up."""
    return 0 if text.strip() == "0" else count(text)


def switch(text: str) -> bool:
    """On or off."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither 1 nor 0")


def word(text: str) -> str:
    """Any text."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def database(text: str) -> str:
    """A PostgreSQL's URL, as the store takes it."""
    scheme, separator, rest = text.strip().partition("://")
    if separator and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    raise ValueError("is no postgresql://USER:PASSWORD@HOST/DATABASE")


def days(text: str) -> float:
    """A number of days; may be infinite."""
    if text.strip().lower() == "forever":
        return inf
    if not _NUMBER.fullmatch(text.strip()) or not 0 < float(text) < _MOST_DAYS:
        raise ValueError(f"{text!r} is not a number of days; or write forever")
    return float(text)


def choice(*choices: str) -> Callable[[str], str]:
    """One of some words."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"{text!r} is none of {', '.join(choices)}")
        return text.lower()

    return parse


def names(text: str) -> tuple[str, ...]:
    """Names, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def host_name(text: str) -> str:
    """A host's name, ``*.`` and all below it, or ``*``."""
    name = text.strip().lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is no host name, *.NAME or *")
    return name


def origin(text: str) -> str:
    """A web site's origin, or ``*``."""
    site = text.strip().lower().removesuffix("/")
    if not _ORIGIN.fullmatch(site):
        raise ValueError(f"{text!r} is neither scheme://host[:port] nor *")
    return site


def mapping(text: str) -> tuple[str, str]:
    """A pattern and what it stands for."""
    pattern, separator, model = (part.strip() for part in text.partition("="))
    if not (pattern and separator and model):
        raise ValueError(f"{text!r} is not NAME=MODEL, for example gpt-4o=sonnet")
    return pattern, model
