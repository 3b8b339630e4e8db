"""Servers in front of a scripted CLI."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from tests.support import fake_claude, merging_claude
from tests.support.server import RunningProxy


@frozen
class FakeClaude:
    """An executable that plays a scenario; ``sent`` has the lines that it received."""

    binary: Path
    log: Path

    @property
    def sent(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_bytes().splitlines()]


@pytest.fixture
def proxy(
    proxy: Callable[..., RunningProxy],
) -> Callable[..., RunningProxy]:
    """Starts servers without spares, whose CLI does not merge bodies."""

    def start(**options: Any) -> RunningProxy:
        return proxy(**{"spares": 0, "compose": "body", **options})

    return start


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], FakeClaude]:
    def make(scenario: str) -> FakeClaude:
        binary, log = tmp_path / f"claude-{scenario}", tmp_path / f"{scenario}.log"
        log.touch()
        script = Path(fake_claude.__file__)
        # A program that is being started cannot be written.
        if not binary.exists():
            binary.write_text(
                f"#!/bin/sh\nexec {sys.executable} -I -S {script} {scenario} {log} "
                '"$@"\n'
            )
            binary.chmod(0o755)
        return FakeClaude(binary, log)

    return make


@pytest.fixture
def merging(tmp_path: Path) -> Callable[[str], Path]:
    """Makes executables that merge bodies in a given way."""

    def make(how: str) -> Path:
        binary = tmp_path / "claude"
        young = tmp_path / "claude.new"
        script = Path(merging_claude.__file__)
        young.write_text(
            f'#!/bin/sh\nexec {sys.executable} -I -S {script} {how} "$@"\n'
        )
        young.chmod(0o755)
        young.rename(binary)
        return binary

    return make


@pytest.fixture(params=["body", "native"])
def each_way(
    request: pytest.FixtureRequest, proxy: Callable[..., RunningProxy]
) -> Callable[..., RunningProxy]:
    """Starts servers in both ways of asking, one after the other."""

    def start(**options: Any) -> RunningProxy:
        return proxy(**{"compose": request.param, **options})

    return start
