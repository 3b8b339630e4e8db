"""Reads the provider's last error from the CLI's log of errors. Pure.

The CLI reports some errors in its own words: ``Prompt is too long``, without the
numbers, or ``Image was too large``, without the path. Its log on stderr has the
provider's error document. The CLI writes the log before it reports the error.

Source: docs/claude-cli-protocol.md, "The provider's own words".
"""

import re

import msgspec
from attrs import frozen

_LOGGED = re.compile(
    r"^\S+ \[ERROR\] (?:API error \([^)\n]*\)|Error in API request): (.*)$",
    re.MULTILINE,
)
# The status comes once or twice; an error within a stream has no status.
_STATUS_AND_DOCUMENT = re.compile(r"(?:(\d{3}) (?:\d{3} )?)?(.*)")
_LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT\S+ \[[A-Z]+\] ")


class _Error(msgspec.Struct):
    message: str


class _Document(msgspec.Struct):
    error: _Error


_decode = msgspec.json.Decoder(_Document).decode


@frozen
class LoggedError:
    """An error of the provider, from the CLI's log.

    Attributes:
        status: the HTTP status; None: the error came within a stream.
        message: the provider's own message.
    """

    status: int | None
    message: str


def last_logged_error(log: str) -> LoggedError | None:
    """The last error in a log; None: there is none, or it is not an error document.

    Args:
        log: the CLI's stderr, or the end of it.
    """
    *_, last = ("", *_LOGGED.findall(log))
    match = _STATUS_AND_DOCUMENT.fullmatch(last)
    message = None if match is None else message_of(match[2])
    if match is None or message is None:
        return None
    return LoggedError(int(match[1]) if match[1] else None, message)


def message_of(document: str) -> str | None:
    """The message in an error document; None: the document has another form."""
    try:
        return _decode(document).error.message
    except msgspec.DecodeError:
        return None


def is_log_line(line: str) -> bool:
    """Whether a line on stderr is part of the CLI's log, which may quote requests."""
    return bool(_LOG_LINE.match(line))
