"""Decides whether bodies are composed by the proxy or by the CLI. Pure."""

from enum import Enum

from attrs import frozen

from ccproxy.claude.installation.body_limit import BodyLimit


class BinaryVerdict(Enum):
    """The result of a binary's examination; see `.conformance`."""

    UNKNOWN = "unknown"
    EXAMINING = "examining"
    MERGES = "merges"
    DIFFERS = "differs"
    FAILED = "failed"
    UNUSABLE = "unusable"


class ComposeMode(Enum):
    """The operator's choice.

    ========  ==================================================================
    AUTO      the proxy composes bodies, if the CLI is proven to send them
    BODY      the proxy composes bodies
    NATIVE    the CLI composes bodies from the conversation; a process for each request
    ========  ==================================================================
    """

    AUTO = "auto"
    BODY = "body"
    NATIVE = "native"


@frozen
class ComposeDecision:
    """How requests are asked, and why.

    Attributes:
        is_native: whether every request is sent in native mode.
        largest_bytes: requests with larger bodies are sent in native mode, too; None:
            there is no such limit.
        why: the reason for native mode, one clause; empty: it is not used.
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
    """Decide how requests are asked.

    Args:
        mode: the operator's choice.
        has_agent_tools: whether Claude Code's own tools are on.
        verdict: the result of the binary's examination.
        why: the reason for the verdict.
        limit: the limit on bodies by the CLI's login; None: there is none.
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
