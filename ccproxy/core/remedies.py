"""What to do about each error code, for the dashboard.

An error's own message may quote a request, and is shown to its client only.
"""

from collections.abc import Mapping

REMEDIES: Mapping[str, str] = {
    "internal_error": (
        "A bug of the proxy. Its log has details under this id; please report it."
    ),
    "invalid_request": "The request is invalid. The client received the reason.",
    "missing_required_parameter": (
        "The client's request lacks a field. The client received its name."
    ),
    "unsupported_value": "The model behind Claude Code cannot do what was asked.",
    "thread_unsupported_request": (
        "Nothing to do: Anthropic's SDKs repeat the request with all messages."
    ),
    "context_length_exceeded": (
        "The conversation is too long: shorten it, or begin a new one."
    ),
    "invalid_encrypted_content": (
        "Encrypted content was changed, or is from another proxy: begin a new "
        "conversation."
    ),
    "previous_response_not_found": (
        "The previous response is not stored: send the whole conversation; see "
        "--keep-time."
    ),
    "invalid_api_key": (
        "Send the proxy's own key (PROXY_API_KEY), not a key of OpenAI's or "
        "Anthropic's."
    ),
    "not_found": "There is no such route or object: check the client's base URL.",
    "model_not_found": (
        "Choose a model that GET /models lists, or map its name with --model-map."
    ),
    "method_not_allowed": "Use another HTTP method for this route.",
    "upgrade_required": "The route is for WebSocket connections: use POST instead.",
    "foreign_origin": "A page of another site asked: --cors-origin allows it.",
    "foreign_host": "The request names another host: --allowed-hosts allows it.",
    "unsupported_content_encoding": "Have the client send its requests uncompressed.",
    "request_timeout": (
        "The client sent its request too slowly: see --head-timeout and --body-timeout."
    ),
    "websocket_connection_limit_reached": "Nothing to do: the client connects again.",
    "request_too_large": "Send less, or start the proxy with a larger --max-body.",
    "not_supported": "Claude Code cannot do this: turn the feature off in the client.",
    "claude_failed": (
        "Try again. If it fails again, run `ccproxy doctor --ask`; see the log."
    ),
    "schema_not_satisfied": "Try again, or describe the wanted answer in more detail.",
    "claude_unavailable": (
        "The claude CLI is missing, too old or broken: run `ccproxy doctor`."
    ),
    "claude_not_logged_in": (
        "Run `ccproxy doctor`: it prints the command that logs you in. Or set "
        "ANTHROPIC_API_KEY."
    ),
    "overloaded": "The proxy or the provider is overloaded: try again later.",
    "queue_full": (
        "All CLI processes are busy: try again later, or raise --max-processes or "
        "--max-queue."
    ),
    "rate_limit_exceeded": (
        "The provider's rate limit is reached: wait as long as Retry-After says."
    ),
    "insufficient_quota": (
        "The plan's usage is used up: wait for the reset, or buy more."
    ),
    "timeout": (
        "The model did not answer in time: try again; see --first-token-timeout, "
        "--silence-timeout and --turn-timeout."
    ),
    "storage_failed": (
        "The database cannot be used: run `ccproxy doctor`; see --state-dir."
    ),
}
