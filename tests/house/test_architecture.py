"""The diagrams and tables of docs/architecture.md agree with the code."""

import re
from enum import Enum
from importlib import import_module

from tests.house.test_house import BELOW, ROOT
from tests.support.docs import DOCS, rows
from tests.support.docs import ROOT as FOLDER

PAGE = DOCS / "architecture.md"
_DIAGRAM = re.compile(r"<!-- states: ([\w.]+) -->\n```\n(.*?)```", re.DOTALL)
_DRAWN = (
    "ccproxy.claude.worker.state.WorkerState",
    "ccproxy.claude.pool.requests.AnswerState",
    "ccproxy.claude.pool.circuit_breaker._State",
)
_MOST_LINES = 150


def _drawn(room: str) -> str:
    return "version" if room == ROOT else room


def test_floors() -> None:
    drawn = {
        room: {name.strip() for name in below.split(",") if name.strip()}
        for room, _, below in rows(PAGE, "floors")
    }
    # Modules of one room know each other in any case.
    assert drawn == {
        room: {_drawn(name) for name in below - {room}} for room, below in BELOW.items()
    }


def test_states() -> None:
    diagrams = dict(_DIAGRAM.findall(PAGE.read_text()))
    assert set(diagrams) == set(_DRAWN)
    for name, diagram in diagrams.items():
        module, _, enum = name.rpartition(".")
        states: type[Enum] = getattr(import_module(module), enum)
        # Words of two letters and more; a CLI is no state.
        drawn = set(re.findall(r"\b[A-Z]{2,}\b", diagram)) - {"CLI"}
        assert drawn == set(states.__members__), f"the states of {name}"


def test_modules_are_there() -> None:
    text = PAGE.read_text()
    paths = re.findall(r"`((?:ccproxy|tests)/[\w/]+(?:\.py)?)`", text)
    assert len(paths) > 15
    assert [path for path in paths if not (FOLDER / path).exists()] == []


def test_it_stays_short() -> None:
    assert len(PAGE.read_text().splitlines()) <= _MOST_LINES
