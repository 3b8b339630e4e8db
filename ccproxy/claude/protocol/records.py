"""Records that the CLI writes, except the records of an answer (`.stream`). Pure.

====================  ====================================================
``result``            `Result`: the turn is over
``system/init``       `Init`: a turn begins
``system/api_retry``  `ApiRetry`: a request failed, the CLI will repeat it
``rate_limit_event``  `RateLimitEvent`
``control_response``  `ControlResponse`: answers a request of the proxy
``control_request``   `ControlRequest`: a request of the CLI to the proxy
====================  ====================================================

Unknown fields are skipped, because each version of the CLI adds some. A record of a
type that `.codec` does not list in ``_DECODERS`` is skipped, too.

Source: docs/claude-cli-protocol.md, "Output".
"""

from collections.abc import Mapping

import msgspec

from ccproxy.core.stream import Usage

_NO_LOGIN = "none"
# Tools that `Init` lists under another name than the model sees (CLI 2.1.332).
_LISTED_AS: Mapping[str, str] = {"Agent": "Task"}


class OutputDetails(msgspec.Struct):
    """``output_tokens_details``: the parts of ``output_tokens``."""

    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """Token counts of the Messages API; None: absent, which does not mean 0."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None

    def over(
        self, earlier: Usage, fields: Mapping[str, msgspec.Raw] | None = None
    ) -> Usage:
        """These counts; each absent count is taken from ``earlier``.

        ``message_delta`` repeats only some counts of ``message_start``.

        Args:
            earlier: the counts so far.
            fields: the `Usage.details` of the result; None: none.
        """
        details = self.output_tokens_details or OutputDetails()
        return Usage(
            input_tokens=_given(self.input_tokens, earlier.input_tokens),
            cache_read_tokens=_given(
                self.cache_read_input_tokens, earlier.cache_read_tokens
            ),
            cache_write_tokens=_given(
                self.cache_creation_input_tokens, earlier.cache_write_tokens
            ),
            output_tokens=_given(self.output_tokens, earlier.output_tokens),
            thinking_tokens=_given(details.thinking_tokens, earlier.thinking_tokens),
            details=fields or {},
        )


def _given(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def listed_as(tool: str) -> str:
    """The name that `Init` has for a tool of the client."""
    return _LISTED_AS.get(tool, tool)


class MCPServerStatus(msgspec.Struct):
    """The state of an MCP server: the proxy's own, or another that is configured."""

    name: str
    status: str


class Init(msgspec.Struct):
    """The beginning of a turn; ``tools`` has the names that `listed_as` returns."""

    tools: list[str] = []
    mcp_servers: list[MCPServerStatus] = []

    def has(self, name: str) -> bool:
        """Whether the model may call a tool."""
        return name in self.tools


class ModelUsage(msgspec.Struct, rename="camel"):
    """The limits of a model in a ``result``: its context window and longest answer."""

    context_window: int | None = None
    max_output_tokens: int | None = None


class Result(msgspec.Struct):
    """The end of a turn; ``subtype`` may be ``success`` for a failed turn.

    ``model_usage`` has a `ModelUsage` for each full id of a model.
    """

    subtype: str
    is_error: bool = False
    num_turns: int = 0
    result: str | None = None
    errors: list[str] = []
    stop_reason: str | None = None
    terminal_reason: str | None = None
    api_error_status: int | None = None
    api_error_type: str | None = None
    usage: WireUsage | None = None
    total_cost_usd: float | None = None
    model_usage: msgspec.Raw = msgspec.field(
        default_factory=lambda: msgspec.Raw(b"{}"), name="modelUsage"
    )


class ApiRetry(msgspec.Struct):
    """The provider refused or the connection was lost; the CLI will retry."""

    attempt: int
    retry_delay_ms: float
    max_retries: int | None = None
    error_status: int | None = None
    error: str | None = None


def is_failure(record: object) -> bool:
    """Whether a record reports that a request to the provider failed."""
    return isinstance(record, ApiRetry) or (
        isinstance(record, Result) and record.is_error
    )


class LimitWindow(msgspec.Struct, rename="camel", frozen=True):
    """A rate limit of the subscription; ``utilization`` is from 0 to 1."""

    utilization: float | None = None
    status: str | None = None
    resets_at: float | None = None


class RateLimitInfo(msgspec.Struct, rename="camel"):
    """The usage of one rate limit; ``resets_at`` is in Unix seconds.

    With newer CLIs, ``unified_windows`` has all rate limits by name.
    """

    status: str | None = None
    resets_at: float | None = None
    rate_limit_type: str | None = None
    utilization: float | None = None
    unified_windows: msgspec.Raw = msgspec.Raw(b"{}")


class RateLimitEvent(msgspec.Struct):
    """A report of the subscription's rate limits."""

    rate_limit_info: RateLimitInfo


class ControlReply(msgspec.Struct):
    """The body of a `ControlResponse`; ``response`` is set for ``success``."""

    subtype: str
    request_id: str
    response: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None


class ControlResponse(msgspec.Struct):
    """The answer to a control request of the proxy."""

    response: ControlReply


class CallMeta(msgspec.Struct, frozen=True):
    """The CLI's fields in the ``_meta`` of a call."""

    tool_use_id: str = msgspec.field(default="", name="claudecode/toolUseId")


class CallParams(msgspec.Struct, frozen=True):
    """The parameters of ``tools/call``."""

    meta: CallMeta = msgspec.field(default=CallMeta(), name="_meta")


class MCPMessage(msgspec.Struct):
    """A JSON-RPC message to the proxy's tool server; a notification has no ``id``.

    Only the ``params`` of ``tools/call`` are read.
    """

    method: str = ""
    id: int | str | None = None
    params: CallParams = CallParams()


class ControlRequestBody(msgspec.Struct):
    """The body of a `ControlRequest`."""

    subtype: str
    server_name: str | None = None
    message: MCPMessage | None = None


class ControlRequest(msgspec.Struct):
    """A request of the CLI to the proxy; the CLI waits for the answer."""

    request_id: str
    request: ControlRequestBody


class ModelInfo(msgspec.Struct, rename="camel"):
    """One model of the CLI's catalogue."""

    value: str
    resolved_model: str | None = None
    display_name: str | None = None
    supports_effort: bool | None = None
    supported_effort_levels: list[str] = []


# The `token_source` of a subscription's token from `claude setup-token`.
_PLANS_LOGIN = "CLAUDE_CODE_OAUTH_TOKEN"


class Account(msgspec.Struct, rename="camel"):
    """The source of the CLI's login, without its secrets."""

    token_source: str | None = None
    api_key_source: str | None = None
    api_provider: str | None = None
    email: str | None = None
    subscription_type: str | None = None

    @property
    def source(self) -> str | None:
        """The source of the login; None: no login, or an unknown source."""
        sources = (self.token_source, self.api_key_source)
        return next(
            (source for source in sources if source not in (None, _NO_LOGIN)), None
        )

    @property
    def has_subscription(self) -> bool:
        """Whether the login is a subscription's, not an API key."""
        return self.subscription_type is not None or self.token_source == _PLANS_LOGIN

    @property
    def is_logged_in(self) -> bool:
        """Whether there is a login, as far as the CLI reports it."""
        return self.token_source != _NO_LOGIN or self.source is not None


class InitializeAnswer(msgspec.Struct):
    """The answer to ``initialize``."""

    models: list[ModelInfo] = []
    account: Account | None = None
    claude_code_version: str | None = None


class Rewound(msgspec.Struct):
    """The answer to ``rewind_conversation``; ``reason``: why it failed.

    ``preceding_uuid`` is the id of the last remaining message.
    """

    rewound: bool = False
    reason: str | None = None
    preceding_uuid: str | None = msgspec.field(
        default=None, name="precedingAssistantUuid"
    )


class UsedContext(msgspec.Struct):
    """The tokens of one part of the CLI's context."""

    name: str = ""
    tokens: int = 0


class ContextUsage(msgspec.Struct):
    """The answer to ``get_context_usage``."""

    categories: list[UsedContext] = []

    @property
    def system_tokens(self) -> int | None:
        """The tokens of the system prompt; None: not counted."""
        found = (c.tokens for c in self.categories if c.name == "System prompt")
        return next(found, None)


class Interrupted(msgspec.Struct):
    """The answer to ``interrupt``.

    The CLI will still send the questions in ``still_queued``.
    """

    still_queued: list[msgspec.Raw] = []
