"""The operator's models are compared with those of the CLI when it is there."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from tests.conftest import ExpectedErrors
from tests.integration.claude.conftest import FakeClaude
from tests.support.server import RunningProxy


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The lines of the log that are about missing models."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        text = formatEvent(event)
        if "has no model" in text:
            lines.append(text)

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    yield lines
    globalLogPublisher.removeObserver(observer)


@ensureDeferred
@pytest.mark.parametrize(
    "setting", [{"model": "nope"}, {"model_map": (("a", "nope"),)}], ids=str
)
async def test_model_that_the_cli_does_not_have_is_told_once(
    proxy: Callable[..., RunningProxy],
    fake: Callable[[str], FakeClaude],
    expected_errors: ExpectedErrors,
    told: list[str],
    setting: dict[str, Any],
) -> None:
    expected_errors.allow("has no model 'nope'")
    server = proxy(claude_bin=fake("answer").binary, **setting)
    await server.ready()
    assert len(told) == 1
    # Each answer has a process that tells its models again.
    for text in ("one", "two"):
        assert (await server.chat(text, model="sonnet")).code == 200
    [line] = told
    assert "--model" in line
    assert "it has: haiku, sonnet, opus, fake-1" in line


@ensureDeferred
async def test_without_a_cli_it_is_told_when_the_cli_is_there(
    proxy: Callable[..., RunningProxy],
    fake: Callable[[str], FakeClaude],
    expected_errors: ExpectedErrors,
    told: list[str],
    tmp_path: Path,
) -> None:
    expected_errors.allow("has no model 'nope'")
    expected_errors.allow("the claude CLI cannot be used now")
    binary = tmp_path / "claude-that-comes-later"
    server = proxy(claude_bin=binary, model="nope")
    assert (await server.chat("hello")).code == 503
    assert told == []
    binary.symlink_to(fake("answer").binary)
    assert (await server.chat("hello", model="sonnet")).code == 200
    assert len(told) == 1
