"""A binary whose examinations are under the test's control."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from ccproxy.claude.installation.conformance import Conformance
from ccproxy.claude.installation.contract import QUICK
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.process.binary_id import BinaryID
from ccproxy.claude.process.launch import LaunchSpec

ALL = dict.fromkeys(QUICK, "")
GOOD = ProbeResult("2.1.332", ALL)
BAD = ProbeResult("2.1.400", {**ALL, "merged_body": "`messages` differs"})


@define(eq=False)
class House:
    """A binary, and the `Conformance` that examines it."""

    binary: Path
    clock: Clock = field(factory=Clock)
    probes: "list[Deferred[ProbeResult]]" = field(factory=list)
    kept: dict[BinaryID, ProbeResult] = field(factory=dict)
    known: int = 0
    cancelled: int = 0
    conformance: Conformance = field(init=False)
    launch: LaunchSpec = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.binary.write_text("one")
        launch = LaunchSpec(
            binary=self.binary,
            prefix=(),
            cwd=Path("cwd"),
            scratch=Path("scratch"),
            environment={},
            model="m",
        )
        self.conformance = Conformance(
            lambda: launch, self, self, self.clock, self.has_become_known
        )
        self.launch = launch

    def has_become_known(self) -> None:
        self.known += 1

    async def probe(
        self, launch: LaunchSpec, decided: Callable[[ProbeResult], None]
    ) -> ProbeResult:
        probe: Deferred[ProbeResult] = Deferred(self._cancel)
        self.probes.append(probe)
        result = await probe
        decided(result)
        return result

    def _cancel(self, _: object) -> None:
        self.cancelled += 1

    def load(self, binary: BinaryID) -> ProbeResult | None:
        return self.kept.get(binary)

    def save(self, binary: BinaryID, result: ProbeResult) -> None:
        self.kept[binary] = result

    def settle(self, *, has_processes: bool = False) -> "list[Any]":
        """Wait in `Conformance.settle`; the list gets its result or error."""
        told: list[Any] = []
        settled = self.conformance.settle(lambda: has_processes)
        waiting = Deferred.fromCoroutine(settled)
        waiting.addCallbacks(told.append, lambda failure: told.append(failure.value))
        return told
