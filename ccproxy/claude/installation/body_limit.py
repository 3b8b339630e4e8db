"""How large a request body may be, depending on how the CLI logs in. Pure.

Some logins need a child process of the CLI. The body of a request is a variable in the
CLI's environment (`CLAUDE_CODE_EXTRA_BODY`), which every child inherits. Linux starts
no program with a variable of 128 KiB or more, macOS none with an environment of 1 MB;
the CLI then continues without the login that the child would have returned.

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
        why: the reason for the operator, one clause.
    """

    size_bytes: int
    why: str


def body_limit(
    account: Account | None, environment: Mapping[str, str], platform: str
) -> BodyLimit | None:
    """The limit with this login; None: there is none.

    Args:
        account: what the CLI says of its login; None: not known yet.
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
