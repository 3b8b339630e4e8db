"""Log observers that write text or JSON lines, from a log level upward.

twistd's options ``--logfile`` and ``--syslog`` decide where the lines go.
"""

import json
import re
from math import isfinite
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.failure import Failure
from zope.interface import implementer

# Control characters except newline and tab, Unicode's other line ends, characters that
# change the direction of text, and surrogates, which cannot be encoded.
_UNPRINTABLE = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u200e\\u200f"
    "\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)


@implementer(ILogObserver)
class JSONLines:
    """Writes each event as one line of JSON.

    The fields are ``time``, ``level``, ``where`` (the logger), ``message``, for an
    exception ``traceback``, and each field of the event that is text or a number.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        record: dict[str, Any] = {
            "time": formatTime(event.get("log_time")),
            "level": event["log_level"].name if event.get("log_level") else "info",
            "where": event.get("log_namespace", ""),
            "message": formatEvent(_preformatted(event)),
        }
        failure = event.get("log_failure")
        if isinstance(failure, Failure):
            record["traceback"] = failure.getTraceback()
        for name, value in event.items():
            if isinstance(value, float) and not isfinite(value):
                value = str(value)  # JSON has no infinity and no NaN
            if not name.startswith("log_") and isinstance(value, str | int | float):
                record.setdefault(name, value)
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()


@implementer(ILogObserver)
class TextLines:
    """Writes each event in Twisted's text format, with control characters escaped.

    Text of a client or of the CLI can therefore neither move the cursor of a terminal
    nor look like another log line. If an event has several lines, as with a traceback,
    all lines but the first begin with a tab.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._second = -1
        self._time = ""

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        text = formatEventAsClassicLogText(_preformatted(event), self._format_time)
        if text:
            self._file.write(_UNPRINTABLE.sub(_escaped, text))
            self._file.flush()

    def _format_time(self, seconds: float | None) -> str:
        """The time as Twisted writes it; formatted once a second."""
        if seconds is None:
            return formatTime(seconds)
        if int(seconds) != self._second:
            self._second, self._time = int(seconds), formatTime(seconds)
        return self._time


def _preformatted(event: LogEvent) -> LogEvent:
    """Format an event's fields with ``str.format_map`` if the format allows it.

    Twisted's own formatter is written in Python, because it supports ``{name()}``. It
    takes 0.1 ms for a request's log line of nine fields, which is ten times as long as
    ``str.format_map`` takes.
    """
    template = event.get("log_format")
    if not isinstance(template, str) or "(" in template or "log_flattened" in event:
        return event
    try:
        text = template.format_map(event)
    except Exception:  # noqa: BLE001  # a value's __format__ failed; Twisted reports it
        return event
    return {**event, "log_format": text.replace("{", "{{").replace("}", "}}")}


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def observer(file: TextIO, *, level: str, log_format: str) -> ILogObserver:
    """The log observer that writes to a file."""
    lines: ILogObserver = JSONLines(file) if log_format == "json" else TextLines(file)
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(level))
    filtering: ILogObserver = FilteringLogObserver(lines, [predicate])
    return filtering
