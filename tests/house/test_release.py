"""The version is in one place, and a release has its section of the changelog."""

import re
import tomllib
from datetime import date

from packaging.version import Version

from ccproxy import __version__
from tests.support.docs import ROOT

_HEADING = re.compile(r"^## (.*)$", re.MULTILINE)


def test_changelog_grows_and_its_newest_release_is_this_version() -> None:
    first, *releases = _HEADING.findall((ROOT / "CHANGELOG.md").read_text())
    assert first == "Unreleased"
    dated = [heading.split(" - ") for heading in releases]
    assert dated[0][0] == __version__
    versions = [Version(version) for version, _ in dated]
    assert versions == sorted(versions, reverse=True)
    days = [date.fromisoformat(day) for _, day in dated]
    assert days == sorted(days, reverse=True)


def test_the_version_is_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["version"] == {"path": "ccproxy/__init__.py"}
    assert __version__ not in (ROOT / "flake.nix").read_text()
