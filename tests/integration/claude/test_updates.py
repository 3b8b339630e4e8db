"""The CLI is updated under a running server with a mixed load: no request fails."""

import shutil
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, gatherResults

from tests.conftest import ExpectedErrors
from tests.support import merging_claude
from tests.support.server import RunningProxy, Upstream, answer, events
from tests.support.waiting import until

Start = Callable[..., RunningProxy]

_CLIENTS = 3


def write(path: Path, how: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    script = Path(merging_claude.__file__)
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {script} {how} "$@"\n')
    path.chmod(0o755)
    return path


@define
class Load:
    """Clients that ask one request after the other, until the load is stopped."""

    server: RunningProxy
    codes: list[int] = field(factory=list)
    is_over: bool = False
    _clients: "list[Deferred[None]]" = field(factory=list)

    def start(self) -> None:
        for number in range(_CLIENTS):
            client = Deferred.fromCoroutine(self._client(number))
            self._clients.append(client)

    async def stop(self) -> None:
        self.is_over = True
        await gatherResults(self._clients)

    async def more(self, number: int) -> None:
        """Wait until more requests were answered."""
        wanted = len(self.codes) + number
        await until(lambda: len(self.codes) >= wanted)

    async def _client(self, number: int) -> None:
        while not self.is_over:
            stream = len(self.codes) % 2 == 0
            said: list[Any] = [f"client {number}"]
            if number:
                said.insert(0, {"role": "system", "content": f"prompt {number}"})
            response = await self.server.chat(*said, stream=stream)
            text = await response.text()
            is_whole = "[DONE]" in text if stream else "one two three" in text
            self.codes.append(response.code if is_whole else -1)


@define
class Place:
    """Where the CLI is, behind a link or not."""

    folder: Path

    @property
    def binary(self) -> Path:
        return self.folder / "bin" / "claude"

    def put(self, how: str) -> None:
        """Put a whole file into the place of another one."""
        young = write(self.folder / "claude.new", how)
        self.binary.parent.mkdir(exist_ok=True)
        young.rename(self.binary)

    def link(self, how: str) -> Path:
        """Install a version in a folder of its own, and move the link."""
        version = write(self.folder / how / "claude", how)
        self.binary.parent.mkdir(exist_ok=True)
        young = self.folder / "link.new"
        young.symlink_to(version)
        young.rename(self.binary)
        return version


async def in_place(place: Place, load: Load) -> None:
    place.put("newer")


async def by_and_by(place: Place, load: Load) -> None:
    """There is no file for a moment, and then an incomplete file."""
    place.binary.unlink()
    await until(lambda: load.server.backend._conformance._place.is_missing)
    place.binary.write_bytes(b"\x7fELF and no more yet")
    place.binary.chmod(0o755)
    examiner = load.server.backend._conformance._examiner
    await until(lambda: examiner.is_running)
    place.put("newer")


async def by_a_link(place: Place, load: Load) -> None:
    place.link("newer")


async def by_a_link_and_removed(place: Place, load: Load) -> None:
    place.link("newer")
    shutil.rmtree(place.folder / "merges")


Update = Callable[[Place, Load], Coroutine[Any, Any, None]]
BEGIN: Mapping[Update, Callable[[Place], object]] = {
    in_place: lambda place: place.put("merges"),
    by_and_by: lambda place: place.put("merges"),
    by_a_link: lambda place: place.link("merges"),
    by_a_link_and_removed: lambda place: place.link("merges"),
}


@pytest.mark.parametrize("compose", ["auto", "native"])
@pytest.mark.parametrize("update", BEGIN)
@ensureDeferred
async def test_no_request_fails(
    proxy: Start,
    upstream: Upstream,
    tmp_path: Path,
    update: Update,
    compose: str,
    expected_errors: ExpectedErrors,
) -> None:
    # A spare may be started from the incomplete file.
    expected_errors.allow("exit status 127")
    place = Place(tmp_path)
    BEGIN[update](place)
    held: Deferred[None] = Deferred()

    def script(body: Mapping[str, Any]) -> Any:
        is_long = "a long one" in repr(body["messages"])
        return answer(hold_after=1, held=held) if is_long else answer()

    upstream.script(script)
    server = proxy(claude_bin=place.binary, compose=compose, spares=1, max_processes=4)
    await server.examined()
    conformance = server.backend._conformance
    before = conformance.binary
    long = await server.chat("a long one", stream=True)
    load = Load(server)
    load.start()
    await load.more(2)
    await update(place, load)
    await until(lambda: conformance.binary != before)
    await load.more(3)
    held.callback(None)
    assert events(await long.text())[-1] == "[DONE]"
    await load.more(3)
    await load.stop()
    assert set(load.codes) == {200}
    await server.settled()
    # No process of the old version is left, and the models are those of the new one.
    assert all(conformance.is_current(worker.launch) for worker in server.workers)
    await until(lambda: server.backend._discovery.knows(conformance.binary))
    models = await (await server.get("/v1/models")).json()
    assert "newer" in {model["id"] for model in models["data"]}
    if compose == "auto":
        await until(lambda: not conformance.is_examining)
        about = (await (await server.get("/ready")).json())["claude"]
        assert (about["version"], about["why_not_updated"]) == ("2.1.999", None)
        assert about["conformance"] == "newer_than_tested"
        metrics = await (await server.get("/metrics")).text()
        assert 'ccproxy_cli_stops_total{cause="outdated"}' in metrics
        assert 'ccproxy_cli_conformance{standing="newer_than_tested"} 1.0' in metrics
