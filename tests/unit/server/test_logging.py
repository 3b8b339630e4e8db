"""The lines of the log: their form, and which there are."""

import json
from datetime import date
from io import StringIO
from math import inf, nan
from typing import Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.logger import (
    ILogObserver,
    Logger,
    LogLevel,
    formatEvent,
    formatEventAsClassicLogText,
)
from typing_extensions import override
from zope.interface.verify import verifyObject

from ccproxy.server.logging import JSONLines, TextLines, observer

LEVELS = ("debug", "info", "warn", "error", "critical")


def no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is no JSON")


class Log:
    """A log in memory."""

    def __init__(self, level: str = "debug", log_format: str = "json") -> None:
        self.file = StringIO()
        self.observer = observer(self.file, level=level, log_format=log_format)
        self.logger = Logger(namespace="ccproxy.tests", observer=self.observer)

    @property
    def lines(self) -> list[str]:
        text = self.file.getvalue()
        assert not text or text.endswith("\n")
        return text.split("\n")[:-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=no_constant) for line in self.lines]


def test_it_is_an_observer() -> None:
    assert verifyObject(ILogObserver, JSONLines(StringIO()))


def test_an_event_is_one_json_object() -> None:
    log = Log()
    log.logger.info("answered {model} in {ms} ms", model="opus", ms=12, ok=True)
    [record] = log.records
    assert record.pop("time").startswith("20")
    assert record == {
        "level": "info",
        "where": "ccproxy.tests",
        "message": "answered opus in 12 ms",
        "model": "opus",
        "ms": 12,
        "ok": True,
    }


@given(st.text(), st.text(), st.integers(), st.floats())
@example("{broken}\u2028\n", "\ud800", 0, nan)
@example("", "\0", 0, inf)
def test_any_event_is_one_line_of_json(
    said: str, field: str, number: int, quantity: float
) -> None:
    log = Log()
    log.logger.info("{said}", said=said, field=field, number=number, quantity=quantity)
    [record] = log.records
    assert record["message"] == said
    assert record["field"] == field
    assert record["number"] == number


def test_fields_do_not_hide_what_every_line_has() -> None:
    file = StringIO()
    JSONLines(file)(
        {
            "log_format": "said",
            "log_level": LogLevel.warn,
            "log_namespace": "ccproxy.tests",
            "level": "mine",
            "where": "here",
            "message": "other",
            "time": 5,
        }
    )
    record = json.loads(file.getvalue())
    assert record["level"] == "warn"
    assert record["where"] == "ccproxy.tests"
    assert record["message"] == "said"
    assert record["time"] != 5


def test_objects_are_no_fields() -> None:
    log = Log()
    log.logger.info("said", secret=object(), more={"a": 1}, nothing=None)
    assert log.records[0].keys() == {"time", "level", "where", "message"}


def test_a_failure_has_its_traceback() -> None:
    log = Log()
    try:
        raise ValueError("broken")
    except ValueError:
        log.logger.failure("while testing")
    [record] = log.records
    assert record["level"] == "critical"
    assert record["message"] == "while testing"
    assert "ValueError: broken" in record["traceback"]


def test_an_event_without_level_or_time_is_a_line_too() -> None:
    file = StringIO()
    JSONLines(file)({"log_format": "bare"})
    record = json.loads(file.getvalue())
    assert (record["level"], record["where"], record["message"]) == ("info", "", "bare")


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_left_out(level: str, log_format: str) -> None:
    log = Log(level, log_format)
    for name in LEVELS:
        log.logger.emit(LogLevel.lookupByName(name), "said {name}", name=name)
    told = [
        name for name in LEVELS if any(f"said {name}" in line for line in log.lines)
    ]
    assert tuple(told) == LEVELS[LEVELS.index(level) :]


def test_text_is_for_people() -> None:
    log = Log(log_format="text")
    log.logger.info("answered {model}", model="opus")
    [line] = log.lines
    assert line.endswith("[ccproxy.tests#info] answered opus")


class Broken:
    """A value that has no text."""

    @override
    def __str__(self) -> str:
        raise ValueError("broken")


@pytest.mark.parametrize(
    "template",
    [
        "said",
        "{said} {number:g} {said!r} {{said}}",
        "{time.year} {said[0]}",
        "{call()}",
        "{missing}",
        "{0} {said}",
        "{broken}",
        "{said",
        b"of {said}",
        None,
    ],
)
def test_the_text_is_as_twisted_formats_it(template: object) -> None:
    event = {
        "log_format": template,
        "log_time": 0.0,
        "log_namespace": "ccproxy.tests",
        "log_level": LogLevel.info,
        "said": "{number} in braces",
        "number": 0.5,
        "time": date(2026, 1, 1),
        "call": lambda: "called",
        "broken": Broken(),
    }
    text, of_json = StringIO(), StringIO()
    TextLines(text)(event)
    JSONLines(of_json)(event)
    assert text.getvalue() == (formatEventAsClassicLogText(event) or "")
    assert json.loads(of_json.getvalue())["message"] == formatEvent(event)


def test_each_line_is_written_at_once() -> None:
    class Flushed(StringIO):
        @override
        def flush(self) -> None:
            written.append(self.getvalue())

    written: list[str] = []
    JSONLines(Flushed())({"log_format": "now"})
    assert "now" in written[-1]


@given(st.text())
@example("\r2026-01-01T00:00:00+0000 [ccproxy#info] FAKE")
@example("\n2026-01-01T00:00:00+0000 [ccproxy#info] FAKE")
@example("\x1b[2J\x9b1A\x85\u2028\u2029\u202e\ud800\0\x0b\x0c")
def test_no_text_makes_a_line_of_its_own(said: str) -> None:
    log = Log(log_format="text")
    log.logger.info("said {said}", said=said)
    text = log.file.getvalue()
    text.encode()
    first, *others = text.removesuffix("\n").split("\n")
    assert "[ccproxy.tests#info] said " in first
    # Nobody takes these for lines of the log.
    assert all(line.startswith("\t") for line in others)
    assert not set(text) & set("\r\x0b\x0c\x1b\x85\x9b\0\u2028\u2029\u202e\u2066")


def test_text_is_an_observer() -> None:
    assert verifyObject(ILogObserver, TextLines(StringIO()))
    TextLines(StringIO())({})
