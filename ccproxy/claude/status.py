"""The state of the CLI and of its login, from the CLI's reports. Pure."""

from collections.abc import Sequence

from ccproxy.claude.installation.compose_mode import ComposeDecision, ComposeMode
from ccproxy.claude.installation.probe_result import ProbeResult
from ccproxy.claude.protocol.records import Account, InitializeAnswer
from ccproxy.core.backend import Status
from ccproxy.core.usage import RateWindow


def cli_status(
    known: InitializeAnswer | None,
    decision: ComposeDecision,
    found: ProbeResult,
    windows: Sequence[RateWindow],
    *,
    can_start: bool,
    why_not: str,
    why_not_updated: str,
) -> Status:
    """Collect the status.

    Args:
        known: the CLI's answer to its last initialization; None: there was none.
        decision: the compose mode.
        found: the result of the binary's examination.
        windows: the subscription's rate limits.
        can_start: whether processes may be started now.
        why_not: why the CLI does not answer; empty: no reason is known.
        why_not_updated: why the CLI that was installed last is not used; empty: used.
    """
    account, known_version = Account(), None
    if known is not None:
        account = known.account or account
        known_version = known.claude_code_version
    mode = ComposeMode.NATIVE if decision.is_native else ComposeMode.BODY
    return Status(
        answers=known is not None and can_start and not why_not,
        # Before 2.1.280, only the CLI's requests to the provider name its version. The
        # process that has answered last may be one of an older binary.
        version=found.version or known_version,
        is_logged_in=known is not None and account.is_logged_in,
        login=account.source,
        account=account.email,
        subscription=account.subscription_type,
        windows=windows,
        composer=mode.value,
        why_native=decision.why,
        why_not=why_not,
        conformance=found.standing.value,
        falls_short_in=found.falls_short_in,
        why_not_updated=why_not_updated,
    )
