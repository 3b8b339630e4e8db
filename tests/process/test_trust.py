"""How far CLIs are used again, by what they did so far."""

from ccproxy.claude.native.transcript import Reuse
from ccproxy.claude.native.trust import Trust
from tests.conftest import ExpectedErrors


def test_only_refusals_in_a_row_are_believed() -> None:
    trust = Trust(Reuse.REWIND)
    for _ in range(5):
        trust.lost(Reuse.REWIND)
        trust.lost(Reuse.REWIND)
        trust.earned(Reuse.REWIND)
    assert trust.reuse is Reuse.REWIND


def test_trust_is_lost_step_by_step_and_restored(
    expected_errors: ExpectedErrors,
) -> None:
    expected_errors.allow("does not bear out")
    trust = Trust(Reuse.REWIND)
    for use in (Reuse.REWIND, Reuse.CONTINUE):
        for _ in range(3):
            assert trust.reuse is use
            trust.earned({Reuse.REWIND: Reuse.CONTINUE}.get(use, Reuse.REWIND))
            trust.lost(use)
    steps = [trust.reuse]
    trust.restore()
    assert [*steps, trust.reuse] == [Reuse.OFF, Reuse.REWIND]
