"""Settings of tests that use no reactor."""

import pytest


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Nothing here opens anything, so the look for leaks (50 ms) is left out."""
