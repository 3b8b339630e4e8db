"""The invariant of requests with every fault of a CLI, in real child processes."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy.claude.process import process
from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.support.invariant import End, keeps_the_invariant
from tests.support.log_texts import (
    CLI_ENDED,
    CLI_UNUSABLE,
    IGNORES_SIGTERM,
    NOISE,
    OWN_REQUEST,
)
from tests.support.server import RunningProxy

Start = Callable[..., RunningProxy]
Fake = Callable[[str], FakeClaude]

WHOLE = ("fake answer", "half answer", "known")

# Scenario; how a request ends; words of its error.
FAULTS: list[tuple[str, End, str]] = [
    ("killed", End.ERROR, "signal SIGKILL"),
    ("stopped", End.ERROR, "the answer stopped for 0.4 s"),
    ("exits", End.ERROR, "exit status 0"),
    ("exits-midway", End.ERROR, "exit status 0"),
    ("dies", End.ERROR, "my last words"),
    ("silent", End.ERROR, "no token within"),
    ("falls-silent", End.ERROR, "the answer stopped"),
    ("noisy", End.COMPLETE, ""),
    ("spews", End.COMPLETE, ""),
    ("very-long", End.ERROR, "more than 16777216 bytes"),
    ("cut-record", End.ERROR, "not JSON"),
    ("glued", End.ERROR, "not JSON"),
    ("garbage", End.ERROR, "too many lines that are not JSON"),
    ("chatty", End.COMPLETE, ""),
    ("utf8", End.ERROR, "not UTF-8"),
    ("shape", End.ERROR, "unknown shape"),
    ("half", End.ERROR, "in the middle of a line"),
    ("future", End.COMPLETE, ""),
    ("early-delta", End.ERROR, "an answer that has not begun"),
    ("two-results", End.COMPLETE, ""),
    ("late-messages", End.COMPLETE, ""),
    ("stray-responses", End.COMPLETE, ""),
    ("waits-long", End.ERROR, "refused the request (429)"),
]
CASES = [
    *(("body", *fault) for fault in FAULTS),
    # An unexpected message is a request that the proxy did not make.
    ("body", "starts-again", End.ERROR, OWN_REQUEST),
    ("body", "stammers", End.ERROR, OWN_REQUEST),
    *(("native", *fault) for fault in FAULTS),
    ("native", "starts-again", End.COMPLETE, ""),
    ("native", "stammers", End.COMPLETE, ""),
    ("native", "ignores-settings", End.COMPLETE, ""),
    ("native", "other-tools", End.ERROR, "offers tools that the client has not sent"),
]

LIMITS: dict[str, dict[str, Any]] = {
    # The next question, which works, may need a while on a busy machine.
    "silent": {"first_token_timeout": 1.0},
    "stopped": {"silence_timeout": 0.4},
    "falls-silent": {"silence_timeout": 0.4},
}


@pytest.mark.parametrize(("compose", "scenario", "end", "words"), CASES)
@ensureDeferred
async def test_each_fault_has_one_end_and_the_next_request_works(
    proxy: Start,
    fake: Fake,
    expected_errors: ExpectedErrors,
    monkeypatch: pytest.MonkeyPatch,
    compose: str,
    scenario: str,
    end: End,
    words: str,
) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 0.1)
    for allowed in (
        *(CLI_ENDED, IGNORES_SIGTERM, CLI_UNUSABLE),
        NOISE,
    ):
        expected_errors.allow(allowed)
    if compose == "body" and scenario in ("starts-again", "stammers", "late-messages"):
        expected_errors.allow(OWN_REQUEST)
    options = LIMITS.get(scenario, {})
    server = proxy(claude_bin=fake(scenario).binary, compose=compose, **options)
    for stream in (False, True):
        outcome = await keeps_the_invariant(server, "hello", WHOLE, stream=stream)
        assert outcome.end is end
        if outcome.error is not None:
            assert words in outcome.error["message"]
