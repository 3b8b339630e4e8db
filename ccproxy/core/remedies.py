"""What helps against each error, without a word of who it happened to.

An error's own message may quote a request; these are shown to whoever looks on.
"""

from collections.abc import Mapping

REMEDIES: Mapping[str, str] = {
    "internal_error": (
        "A fault of the proxy's: its log has it under this id; please report it."
    ),
    "invalid_request": "The client's request cannot be served; its answer says why.",
    "missing_required_parameter": (
        "The client's request lacks a field; its answer names it."
    ),
    "unsupported_value": "The model behind Claude Code cannot do what was asked.",
    "thread_unsupported_request": (
        "Nothing to do: Anthropic's SDKs send the whole conversation next."
    ),
    "context_length_exceeded": (
        "The conversation is too long: shorten it, or begin a new one."
    ),
    "invalid_encrypted_content": (
        "Sealed content was changed, or is another proxy's: begin a new conversation."
    ),
    "previous_response_not_found": (
        "The response is not kept (any more): send the whole conversation; "
        "see --keep-days."
    ),
    "invalid_api_key": (
        "Send the key that the proxy was started with (PROXY_API_KEY), not one of "
        "OpenAI's or Anthropic's."
    ),
    "not_found": "There is no such route or object: look at the client's base URL.",
    "model_not_found": (
        "Choose a model that GET /models lists, or map the name with --model-map."
    ),
    "method_not_allowed": "The route exists under another method.",
    "upgrade_required": "The route is a WebSocket's; ask by POST instead.",
    "foreign_origin": "A page of another site asked: --cors-origin lets it.",
    "foreign_host": "Asked for by another name: --allowed-hosts adds it.",
    "unsupported_content_encoding": "Have the client send its body uncompressed.",
    "request_timeout": (
        "The request came too slowly: see --head-timeout and --body-timeout."
    ),
    "websocket_connection_limit_reached": "Nothing to do: the client connects again.",
    "request_too_large": "Send less, or start the proxy with a larger --max-body.",
    "not_supported": "Nothing behind this proxy can do it; the client can do without.",
    "claude_failed": (
        "Try again. If it stays, run `ccproxy doctor --ask`; the log has more."
    ),
    "schema_not_satisfied": "Try again, or describe better what you want.",
    "claude_unavailable": (
        "The claude CLI is missing, too old or broken: run `ccproxy doctor`."
    ),
    "claude_not_logged_in": "Run `claude` and log in, or set ANTHROPIC_API_KEY.",
    "overloaded": "Too much at once, here or at the provider: try again in a while.",
    "queue_full": (
        "All CLIs are busy: try again, or raise --max-processes or --max-queue."
    ),
    "rate_limit_exceeded": (
        "The provider's rate limit: wait as long as Retry-After says."
    ),
    "insufficient_quota": (
        "The plan's usage is used up: wait for its reset, or add to the account."
    ),
    "timeout": (
        "Nothing came for too long: try again; see --first-token-timeout, "
        "--silence-timeout and --turn-timeout."
    ),
    "storage_failed": (
        "The database cannot be used: run `ccproxy doctor`; see --state-dir."
    ),
}
