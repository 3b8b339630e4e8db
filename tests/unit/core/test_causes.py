"""Every error that ends an answer says why, in a word of the code's own."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ccproxy.claude.body.paths import with_client_paths
from ccproxy.core.errors import (
    Cause,
    ClaudeFailed,
    InvalidRequest,
    ShuttingDown,
)
from tests.support.docs import ROOT

# Errors of these classes have several causes: no code of theirs tells why.
_AMBIGUOUS = {
    *("ClaudeFailed", "WorkerLost", "SessionLost", "TimedOut", "Overloaded"),
    *("QueueFull", "RateLimited", "ClaudeUnavailable", "ClaudeUnresponsive"),
}
# `ccproxy doctor` shows its errors itself; no request ends with them.
_SOURCES = [
    path
    for path in sorted((ROOT / "ccproxy").rglob("*.py"))
    if not path.is_relative_to(ROOT / "ccproxy" / "cli")
]


def calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node


def test_every_error_whose_code_does_not_tell_why_has_a_cause() -> None:
    made = [
        (path, call)
        for path in _SOURCES
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id in _AMBIGUOUS
    ]
    assert len(made) > 30
    without = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call in made
        if not any(keyword.arg == "cause" for keyword in call.keywords)
    ]
    assert without == []


def test_every_cause_is_used() -> None:
    text = "".join(path.read_text() for path in _SOURCES)
    assert [c.name for c in Cause if f"Cause.{c.name}" not in text] == []


@pytest.mark.parametrize("cause", Cause)
def test_a_cause_is_its_name_in_small_letters(cause: Cause) -> None:
    assert cause.value == cause.name.lower()


def test_an_error_without_a_cause_has_that_of_its_class() -> None:
    assert ClaudeFailed("it broke").cause is None
    assert ShuttingDown("it stops").cause is Cause.SHUTTING_DOWN
    assert ClaudeFailed("x", cause=Cause.NOT_RESUMED).cause is Cause.NOT_RESUMED


def test_the_clients_path_keeps_the_cause() -> None:
    error = InvalidRequest("model: no", param="model", cause=Cause.PROVIDER_REFUSED)
    assert with_client_paths(error, lambda path: path).cause is Cause.PROVIDER_REFUSED
