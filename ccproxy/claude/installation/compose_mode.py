"""Which of the two ways a question is asked. Pure."""

from enum import Enum

from attrs import frozen

from ccproxy.claude.installation.login import BodyLimit


class BinaryVerdict(Enum):
    """What is known of the CLI's binary; see `.conformance`."""

    UNKNOWN = "unknown"
    EXAMINING = "examining"
    MERGES = "merges"
    DIFFERS = "differs"
    FAILED = "failed"
    UNUSABLE = "unusable"


class ComposeMode(Enum):
    """What the operator wants.

    ========  ==================================================================
    AUTO      the body is set whole, where the CLI is proven to take it
    BODY      the body is set whole
    NATIVE    the CLI is told the conversation; a process for each question
    ========  ==================================================================
    """

    AUTO = "auto"
    BODY = "body"
    NATIVE = "native"


@frozen
class ComposeDecision:
    """How questions are asked, and why not otherwise.

    Attributes:
        is_native: whether every question is asked the native way.
        largest_bytes: a larger body is asked the native way, too; None: no body is.
        why: why questions are asked the native way, one clause; empty: they are not.
    """

    is_native: bool
    largest_bytes: int | None = None
    why: str = ""


def decide_compose_mode(
    mode: ComposeMode,
    *,
    has_agent_tools: bool,
    verdict: BinaryVerdict,
    why: str,
    limit: BodyLimit | None,
) -> ComposeDecision:
    """How questions are asked.

    Args:
        mode: what the operator wants.
        has_agent_tools: whether Claude Code's own tools are on.
        verdict: on the CLI's binary.
        why: of the verdict.
        limit: what the CLI's login bears.
    """
    if has_agent_tools:
        return ComposeDecision(True, why="Claude Code's own tools need its own loop")
    if mode is ComposeMode.NATIVE:
        return ComposeDecision(True, why="the operator has chosen it")
    if mode is ComposeMode.AUTO and verdict is BinaryVerdict.DIFFERS:
        return ComposeDecision(
            True, why=f"the claude CLI does not take bodies as set: {why}"
        )
    if mode is ComposeMode.AUTO and verdict is BinaryVerdict.FAILED:
        return ComposeDecision(True, why=f"the claude CLI could not be examined: {why}")
    if mode is ComposeMode.AUTO and limit is not None:
        return ComposeDecision(limit.size_bytes == 0, limit.size_bytes, limit.why)
    return ComposeDecision(False)
