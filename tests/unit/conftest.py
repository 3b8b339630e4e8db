"""Settings of tests that use no reactor."""

import pytest
from hypothesis import HealthCheck, settings

# Machines that run several suites at once are slow now and then; none of these
# tests is about time.
settings.register_profile(
    "pure",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pure")


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Nothing here opens anything, so the look for leaks (50 ms) is left out."""
