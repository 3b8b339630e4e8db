"""Log observers: levels, and text or JSON lines.

Which log is written where stays twistd's business (``--logfile``, ``--syslog``);
here is only how a line looks and which lines there are.
"""

import json
from math import isfinite
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatTime,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(ILogObserver)
class JSONLines:
    """Writes each event as one JSON object: time, level, where, message, fields."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        record: dict[str, Any] = {
            "time": formatTime(event.get("log_time")),
            "level": event["log_level"].name if event.get("log_level") else "info",
            "where": event.get("log_namespace", ""),
            "message": formatEvent(event),
        }
        failure = event.get("log_failure")
        if isinstance(failure, Failure):
            record["traceback"] = failure.getTraceback()
        for name, value in event.items():
            if isinstance(value, float) and not isfinite(value):
                value = str(value)  # JSON has no word for it
            if not name.startswith("log_") and isinstance(value, str | int | float):
                record.setdefault(name, value)
        self._file.write(json.dumps(record, allow_nan=False) + "\n")
        self._file.flush()


def observer(file: TextIO, *, level: str, log_format: str) -> ILogObserver:
    """The observer for a file, as the settings want it."""
    lines: ILogObserver = (
        JSONLines(file) if log_format == "json" else textFileLogObserver(file)
    )
    predicate = LogLevelFilterPredicate(LogLevel.lookupByName(level))
    filtering: ILogObserver = FilteringLogObserver(lines, [predicate])
    return filtering
