"""A binary whose examinations are under the test's control."""

from pathlib import Path

import pytest

from tests.support.conformance_house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "claude")
