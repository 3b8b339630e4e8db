"""Parsers of option values: each converts the operator's text to a value.

Each parser raises ValueError with a message of one line for the operator.
"""

import re
from collections.abc import Callable

from attrs import frozen

_SIZE_UNITS = {"": 1, "b": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SIZE_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE_UNITS |= {"kb": 10**3, "mb": 10**6, "gb": 10**9}
_DAY_SECONDS = 86_400
_TIME_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": _DAY_SECONDS}
_LARGEST_BYTES = 10**15
# About three years. Twisted's delays are floats, so there has to be some limit.
_LONGEST_SECONDS = 10**8
_MOST_DAYS = 100_000
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_LABELS = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
_HOST_NAME = re.compile(rf"\*|(?:\*\.)?{_LABELS}\.?(?::[0-9]{{1,5}})?")
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9_.\[\]:-]+")
_PASSTHROUGH = re.compile(
    r"/?(?:v1/)?(?P<name>[a-z]+)/?="
    r"(?P<url>https?://[!-\x22$->@-~]+?)(?:#(?P<variable>[A-Za-z_][A-Za-z0-9_]*))?"
)
# The characters of an HTTP header field. Clients could not send any other key.
_KEY = re.compile(r"[\x21-\x7e]+")


def api_key(text: str) -> str:
    """An API key: printable ASCII characters without blanks, as in HTTP headers."""
    if not _KEY.fullmatch(text):
        raise ValueError("must be printable ASCII without blanks, and not empty")
    return text


def port(text: str) -> int:
    """A TCP port, or 0 for any free port."""
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port number (0 to 65535)")
    return int(text)


def size(text: str) -> int:
    """A size in bytes; the text may have a unit."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _SIZE_UNITS:
        raise ValueError(
            f"{text!r} is not a size; write for example 500000, 600MB or 4MiB"
        )
    size_bytes = float(match[1]) * _SIZE_UNITS[match[2].lower()]
    if not 1 <= size_bytes <= _LARGEST_BYTES:
        raise ValueError("must be from one byte to 1000000GB")
    return int(size_bytes)


def duration(text: str) -> float:
    """A duration in seconds; the text may have a unit."""
    seconds = _seconds(text)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError("must be more than zero, and less than three years")
    return seconds


def duration_or_none(text: str) -> float:
    """A duration in seconds; 0: none."""
    return 0.0 if _seconds(text) == 0 else duration(text)


def duration_or_forever(text: str) -> float | None:
    """A duration in seconds; None: forever.

    The text must have a unit: ``30`` would mean 30 seconds, but the operator may mean
    30 days.
    """
    if text.strip().lower() == "forever":
        return None
    if _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"{text!r} has no unit; write for example 30d, 12h or forever")
    seconds = _seconds(text)
    if not 0 < seconds < _MOST_DAYS * _DAY_SECONDS:
        raise ValueError(f"must be more than zero and less than {_MOST_DAYS}d")
    return seconds


def days_or_forever(text: str) -> float | None:
    """A duration in seconds from a number of days; None: forever."""
    if text.strip().lower() == "forever":
        return None
    if not _NUMBER.fullmatch(text.strip()) or not 0 < float(text) < _MOST_DAYS:
        raise ValueError(f"{text!r} is not a number of days; or write forever")
    return float(text) * _DAY_SECONDS


def _seconds(text: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2].lower() not in _TIME_UNITS:
        raise ValueError(
            f"{text!r} is not a duration; write for example 90, 90s, 10m, 2h or 1d"
        )
    return float(match[1]) * _TIME_UNITS[match[2].lower()]


def positive(text: str) -> int:
    """A number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is not a number from 1 up")
    return int(text)


def non_negative(text: str) -> int:
    """A number from 0 up."""
    return 0 if text.strip() == "0" else positive(text)


def switch(text: str) -> bool:
    """On or off."""
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(f"{text!r} is neither 1 nor 0")


def not_empty(text: str) -> str:
    """Any text that is not blank."""
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


def postgresql_url(text: str) -> str:
    """The URL of a PostgreSQL database, with SQLAlchemy's scheme."""
    scheme, separator, rest = text.strip().partition("://")
    if separator and scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    raise ValueError("is not postgresql://USER:PASSWORD@HOST/DATABASE")


def some_of(*words: str) -> Callable[[str], tuple[str, ...]]:
    """A parser for some of ``words``, separated by commas; an empty text: no words."""

    def parse(text: str) -> tuple[str, ...]:
        given = tuple(word.strip().lower() for word in text.split(",") if word.strip())
        for word in given:
            if word not in words:
                raise ValueError(f"{word!r} is not one of {', '.join(words)}")
        return tuple(dict.fromkeys(given))

    return parse


@frozen
class Choice:
    """A parser that accepts the given words, in any case."""

    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """The word; raises ValueError for another text."""
        if text.lower() not in self.words:
            raise ValueError(f"{text!r} is none of {', '.join(self.words)}")
        return text.lower()


def choice(*words: str) -> Choice:
    """Make a parser that accepts the given words, in any case."""
    return Choice(words)


def names(text: str) -> tuple[str, ...]:
    """Names that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def host_name(text: str) -> str:
    """A host name, ``*.NAME`` for all its subdomains, or ``*`` for any host."""
    name = text.strip().lower()
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{text!r} is neither a host name nor *.NAME nor *")
    return name


def origin(text: str) -> str:
    """The origin of a web site, or ``*`` for any."""
    site = text.strip().lower().removesuffix("/")
    if not _ORIGIN.fullmatch(site):
        raise ValueError(f"{text!r} is neither scheme://host[:port] nor *")
    return site


def model_mapping(text: str) -> tuple[str, str]:
    """A pattern of model names, and the model that it stands for."""
    pattern, separator, model = (part.strip() for part in text.partition("="))
    if not (pattern and separator and model):
        raise ValueError(f"{text!r} is not NAME=MODEL, for example gpt-4o=sonnet")
    return pattern, model


@frozen
class PassthroughOption:
    """A route whose requests are sent to another server.

    Attributes:
        name: the first segment of the route's path.
        url: the URL to which the rest of the path is appended; without a final slash.
        variable: the environment variable with the server's key; empty: none.
    """

    name: str
    url: str
    variable: str


def passthrough(text: str) -> PassthroughOption:
    """A route, from ``PATH=URL``, or ``PATH=URL#VARIABLE`` if the server needs a key.

    The URL may be a base URL, or the URL of the route itself.
    """
    match = _PASSTHROUGH.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is not PATH=URL, for example "
            "/v1/embeddings=http://127.0.0.1:11434/v1"
        )
    name = match["name"]
    url = match["url"].rstrip("/").removesuffix(f"/{name}")
    return PassthroughOption(name, f"{url}/{name}", match["variable"] or "")
