"""Decides between body mode and native mode. Pure.

For some logins, the CLI starts a child process that returns the credentials. The body
of a request is a variable in the CLI's environment (`CLAUDE_CODE_EXTRA_BODY`), which
every child inherits. Linux refuses to start a program if a variable has 128 KiB or
more, macOS if the environment has 1 MB. The CLI then continues without a login.

======================  =====================  ======================================
login                   child                  bodies that workers send
======================  =====================  ======================================
key helper              at every request       none: every request is sent in native
                                               mode, because the helper would
                                               inherit the body
macOS' keychain         ``security``           up to 900 kB
AWS without a key       a credential process   up to 100 kB
in the environment
all others              none                   all
======================  =====================  ======================================

Source: docs/claude-cli-protocol.md, "Children of the CLI"; execve(2).
"""

from collections.abc import Mapping
from enum import Enum

from attrs import frozen

from ccproxy.claude.protocol.records import Account

_KEY_HELPER = "apiKeyHelper"
_BEDROCK = "bedrock"
_AWS_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_BEARER_TOKEN_BEDROCK")
_LOGINS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")

_LINUX_BYTES = 100_000
_MACOS_BYTES = 900_000


@frozen
class BodyLimit:
    """The largest body that a worker may send.

    Attributes:
        size_bytes: requests with a larger body are sent in native mode; 0: all
            requests are.
        why: the reason that the operator is shown, one clause.
    """

    size_bytes: int
    why: str


def body_limit(
    account: Account | None, environment: Mapping[str, str], platform: str
) -> BodyLimit | None:
    """The limit with this login; None: there is none.

    Args:
        account: the CLI's report of its login; None: not known yet.
        environment: the CLI's environment.
        platform: ``sys.platform``.
    """
    account = account or Account()
    if _KEY_HELPER in (account.token_source, account.api_key_source):
        why = "the login's apiKeyHelper would inherit the body of every question"
        return BodyLimit(0, why)
    is_bedrock = account.api_provider == _BEDROCK
    if is_bedrock and not any(environment.get(name) for name in _AWS_KEYS):
        why = "a credential process of the AWS login could not be started"
        return BodyLimit(_LINUX_BYTES, why)
    is_first_party = account.api_provider in (None, "firstParty")
    has_login = any(environment.get(name) for name in _LOGINS)
    if platform == "darwin" and is_first_party and not has_login:
        why = "the keychain's program could not be started"
        return BodyLimit(_MACOS_BYTES, why)
    return None


class BinaryVerdict(Enum):
    """The result of a binary's examination; `.conformance` explains the values."""

    UNKNOWN = "unknown"
    EXAMINING = "examining"
    MERGES = "merges"
    DIFFERS = "differs"
    FAILED = "failed"
    UNUSABLE = "unusable"


class ComposeMode(Enum):
    """The operator's choice.

    ========  ==================================================================
    AUTO      as BODY if the examination shows that the CLI sends bodies unchanged;
              otherwise as NATIVE
    BODY      the proxy composes bodies
    NATIVE    the CLI composes bodies from the conversation; a process for each request
    ========  ==================================================================
    """

    AUTO = "auto"
    BODY = "body"
    NATIVE = "native"


@frozen
class ComposeDecision:
    """How requests are sent, and why.

    Attributes:
        is_native: whether every request is sent in native mode.
        largest_bytes: a request with a larger body is sent in native mode; None: there
            is no limit.
        why: the reason for native mode, one clause; empty: native mode is not used.
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
    """Decide how requests are sent.

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
            True, why=f"the claude CLI does not send bodies as they were set: {why}"
        )
    if mode is ComposeMode.AUTO and verdict is BinaryVerdict.FAILED:
        return ComposeDecision(True, why=f"the claude CLI could not be examined: {why}")
    if mode is ComposeMode.AUTO and limit is not None:
        return ComposeDecision(limit.size_bytes == 0, limit.size_bytes, limit.why)
    return ComposeDecision(False)
