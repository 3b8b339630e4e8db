"""A binary that is replaced: which one is in use, and whether requests wait."""

import os
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from ccproxy.claude.installation.compose_mode import BinaryVerdict
from ccproxy.core.errors import ClaudeFailed, ClaudeUnavailable
from tests.conftest import ExpectedErrors
from tests.support.conformance_house import BAD, GOOD, House

OLD = ClaudeUnavailable("it is too old")


@define
class Versions:
    """Versions in folders of their own, and the link to one of them."""

    house: House
    folder: Path

    @classmethod
    def make(cls, house: House) -> "Versions":
        """Make one version, and complete its examination."""
        versions = cls(house, house.binary.parent)
        house.binary.rename(versions.version("1"))
        house.binary.symlink_to(versions.version("1"))
        house.settle()
        house.probes[0].callback(GOOD)
        return versions

    def version(self, name: str) -> Path:
        return self.folder / f"version-{name}"

    def update(self, name: str) -> None:
        """Install another version, and move the link."""
        if not self.version(name).exists():
            self.version(name).write_text(name)
        self.house.binary.unlink()
        self.house.binary.symlink_to(self.version(name))

    @property
    def started(self) -> Path:
        """The binary from which a new process would be started."""
        return self.house.conformance.fit(self.house.launch).binary


@pytest.fixture
def versions(house: House) -> Versions:
    return Versions.make(house)


def test_the_old_version_stays_in_use_until_the_new_one_is_examined(
    versions: Versions,
) -> None:
    house = versions.house
    before = house.conformance.fit(house.launch)
    assert before.binary == house.binary
    versions.update("2")
    # No request waits.
    assert house.settle() == [BinaryVerdict.MERGES]
    assert house.conformance.check() is True
    assert versions.started == versions.version("1")
    assert house.conformance.is_current(before)
    house.probes[1].callback(GOOD)
    assert versions.started == house.binary
    assert not house.conformance.is_current(before)
    assert house.conformance.is_current(house.conformance.fit(house.launch))
    assert house.known == 2


def test_a_version_whose_folder_is_removed_meanwhile(versions: Versions) -> None:
    house = versions.house
    versions.update("2")
    assert house.conformance.check() is True
    versions.version("1").unlink()
    assert house.conformance.check() is False
    # Its processes still answer.
    assert house.settle(has_processes=True) == [BinaryVerdict.MERGES]
    told = house.settle()
    assert told == []
    house.probes[1].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]
    assert house.conformance.check() is True


def test_a_file_replaced_in_place_leaves_its_processes_in_use(house: House) -> None:
    house.settle()
    house.probes[0].callback(GOOD)
    before = house.conformance.fit(house.launch)
    house.binary.write_text("another")
    assert house.settle(has_processes=True) == [BinaryVerdict.MERGES]
    assert house.conformance.check() is False
    assert house.conformance.is_current(before)
    house.probes[1].callback(GOOD)
    assert house.conformance.check() is True
    assert not house.conformance.is_current(before)


def test_a_file_of_the_same_size_and_time_is_another(house: House) -> None:
    """The files of all versions have the same time if npm unpacks them."""
    house.settle()
    house.probes[0].callback(GOOD)
    about = house.binary.stat()
    house.binary.rename(house.binary.with_name("before"))
    house.binary.write_text("two")
    os.utime(house.binary, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert house.binary.stat().st_size == about.st_size
    assert house.settle() == []
    assert len(house.probes) == 2


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (BAD, "claude CLI 2.1.400 does not send bodies as they were set"),
        (OLD, "it is too old"),
    ],
)
def test_a_worse_version_is_not_used_while_the_old_version_exists(
    versions: Versions, expected_errors: ExpectedErrors, result: Any, why: str
) -> None:
    for text in ("is not used", "does not send bodies", "requests fail until"):
        expected_errors.allow(text)
    house = versions.house
    versions.update("2")
    house.settle()
    # The file is complete, so it is not examined again.
    house.clock.advance(20)
    if isinstance(result, Exception):
        house.probes[1].errback(result)
    else:
        house.probes[1].callback(result)
    assert why in house.conformance.why_not_updated
    assert house.settle() == [BinaryVerdict.MERGES]
    assert versions.started == versions.version("1")
    assert house.conformance.result is GOOD
    versions.version("1").unlink()
    if isinstance(result, Exception):
        [error] = house.settle()
        assert error.message == "it is too old"
    else:
        assert house.settle() == [BinaryVerdict.DIFFERS]
    assert house.conformance.why_not_updated == ""
    assert versions.started == house.binary


def test_a_better_version_after_a_worse_one(
    versions: Versions, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("is not used")
    house = versions.house
    versions.update("2")
    house.settle()
    house.probes[1].callback(BAD)
    versions.update("3")
    house.settle()
    assert versions.started == versions.version("1")
    house.probes[2].callback(GOOD)
    assert versions.started == house.binary
    assert house.conformance.why_not_updated == ""


def test_a_link_that_is_moved_back(versions: Versions) -> None:
    house = versions.house
    versions.update("2")
    house.settle()
    versions.update("1")
    assert house.settle() == [BinaryVerdict.MERGES]
    assert house.cancelled == 1
    assert versions.started == house.binary


def test_a_place_that_is_empty_for_a_moment(house: House) -> None:
    house.conformance.start()
    house.probes[0].callback(GOOD)
    house.binary.unlink()
    assert house.conformance.check() is False
    assert house.settle(has_processes=True) == [BinaryVerdict.MERGES]
    told = house.settle()
    house.clock.advance(1)
    assert told == []
    house.binary.write_text("whole")
    # Without another request.
    house.clock.advance(1)
    house.probes[1].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]


def test_a_place_that_stays_empty(
    house: House, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("is gone or not executable")
    house.conformance.start()
    house.probes[0].callback(GOOD)
    house.binary.unlink()
    told = house.settle()
    for _ in range(80):
        house.clock.advance(0.25)
    [error] = told
    assert "is gone" in error.message
    with pytest.raises(ClaudeUnavailable, match="is gone"):
        house.conformance.check()
    # Processes that are there still answer.
    assert house.settle(has_processes=True) == [BinaryVerdict.MERGES]
    house.binary.write_text("again")
    told = house.settle()
    assert told == []
    house.probes[1].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]


def test_a_link_that_leads_nowhere_for_a_moment(versions: Versions) -> None:
    house = versions.house
    house.binary.unlink()
    assert house.settle() == [BinaryVerdict.MERGES]
    assert versions.started == versions.version("1")


def test_a_file_that_is_not_whole_yet(house: House) -> None:
    house.settle()
    house.probes[0].callback(GOOD)
    house.binary.write_text("half")
    told = house.settle()
    for number in (1, 2, 3):
        house.probes[number].errback(ClaudeFailed("exit status 126"))
        assert told == []
        house.clock.advance(1)
    house.binary.write_text("the whole")
    house.settle()
    house.probes[5].callback(GOOD)
    assert told == [BinaryVerdict.MERGES]
    assert house.conformance.why_not_updated == ""


def test_a_file_that_never_runs(house: House, expected_errors: ExpectedErrors) -> None:
    expected_errors.allow("could not be examined (exit status 126)")
    house.settle()
    house.probes[0].callback(GOOD)
    house.binary.write_text("broken")
    told = house.settle()
    for _ in range(20):
        if not told:
            house.probes[-1].errback(ClaudeFailed("exit status 126"))
            house.clock.advance(1)
    assert told == [BinaryVerdict.FAILED]


def test_an_update_is_found_without_a_request(house: House) -> None:
    house.conformance.start()
    house.probes[0].callback(GOOD)
    house.binary.write_text("another")
    house.clock.advance(10)
    assert len(house.probes) == 2
    house.conformance.stop()
    assert house.clock.getDelayedCalls() == []
