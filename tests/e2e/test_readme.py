"""The commands in README work as README says."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.utils import getProcessOutputAndValue

from tests.support.docs import DOCS, README, blocks
from tests.support.server import RunningProxy

Start = Callable[..., RunningProxy]

# Where README's server listens, the demo's key, and the key of one's own.
_URL, _KEY, _OWN_KEY = "http://127.0.0.1:8080/", "demo", "choose-a-secret"
# What no test runs as it is: it installs, starts a server that stays, or is all tests.
_NOT_RUN = (
    "git clone REPOSITORY_URL ccproxy && cd ccproxy",
    "python3 -m venv .venv && .venv/bin/pip install -q '.[claude]' && "
    ".venv/bin/ccproxy --demo",
    "pipx install '.[claude]' && ccproxy --demo",
    "uvx --from '.[claude]' ccproxy --demo",
    "podman build -t ccproxy-server . && podman run -p 127.0.0.1:8080:8080 "
    "-e PROXY_API_KEY=choose-a-long-secret ccproxy-server --demo",
    "PROXY_API_KEY=choose-a-secret .venv/bin/ccproxy",
    "./check",
)


def commands() -> list[str]:
    """All of them, each in one line."""
    found = [*blocks(README, "sh"), *blocks(DOCS / "api.md", "sh")]
    text = re.sub(r"\\\n\s*", "", "".join(found))
    return [line for line in text.splitlines() if line]


def test_all_are_run_or_known() -> None:
    others = [line for line in commands() if not line.startswith("curl ")]
    assert others == [*_NOT_RUN], "commands that no test runs"


@pytest.mark.threads
@pytest.mark.skipif(which("curl") is None, reason="there is no curl")
@ensureDeferred
async def test_curl_commands(proxy: Start, tmp_path: Path) -> None:
    # One process, because each start of the CLI takes a second of processor time.
    server = proxy(demo=True, api_keys=(_KEY,), max_processes=1)
    # So that a status of 400 or more is a failure, without a change of the command.
    (tmp_path / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    asked = [line for line in commands() if line.startswith("curl ")]

    def run(command: str) -> "Deferred[tuple[bytes, bytes, int]]":
        assert _URL in command
        own = command.replace(_URL, f"{server.url}/")
        ran: Deferred[tuple[bytes, bytes, int]] = getProcessOutputAndValue(
            "/bin/sh", ("-c", own), env=environment
        )
        return ran

    results = await gatherResults([run(command) for command in asked])
    streams = []
    for command, (out, err, status) in zip(asked, results, strict=True):
        assert (status, err) == (0, b""), command
        if "-N" in command:
            streams.append(out)
        elif "/health" in command:
            assert out == b"ok"
        else:
            assert isinstance(json.loads(out), dict)
    [stream] = streams
    assert stream.startswith(b'data: {"id":"chatcmpl-')
    assert stream.endswith(b"data: [DONE]\n\n")


@pytest.mark.threads
@ensureDeferred
async def test_program(proxy: Start) -> None:
    server = proxy(demo=True, api_keys=(_OWN_KEY,))
    [program] = blocks(README, "python")
    assert _URL in program
    assert _OWN_KEY in program
    own = program.replace(_URL, f"{server.url}/")
    out, err, status = await getProcessOutputAndValue(
        sys.executable, ("-c", own), env={"PATH": os.environ["PATH"]}
    )
    assert (status, err) == (0, b"")
    assert out.startswith(b"Hello! This is the ccproxy demo")
