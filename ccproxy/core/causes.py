"""Why an answer ended with an error, where the error's code does not show that.

The log of a request has the cause beside the code. A cause is one of these words, and
never text of the provider, of a client or of the CLI.

Source: docs/errors.md, "Why an answer ended".
"""

from enum import StrEnum


class Cause(StrEnum):
    """Why an answer ended with an error; docs/errors.md explains each one."""

    # Of `claude_failed`.
    PROCESS_ENDED = "process_ended"
    PROCESS_STOPPED = "process_stopped"
    INVALID_OUTPUT = "invalid_output"
    NO_REPLY = "no_reply"
    COMMAND_REFUSED = "command_refused"
    COMMAND_FAILED = "command_failed"
    OWN_REQUEST = "own_request"
    TURN_DOES_NOT_END = "turn_does_not_end"
    NOT_ASKED = "not_asked"
    UNKNOWN_TOOLS = "unknown_tools"
    CONNECTION_LOST = "connection_lost"
    NOT_RESUMED = "not_resumed"
    RESTART_DIFFERS = "restart_differs"
    NO_SUMMARY = "no_summary"
    PROVIDER_FAILED = "provider_failed"

    # Of `timeout`.
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105
    SILENCE_TIMEOUT = "silence_timeout"
    TURN_TIMEOUT = "turn_timeout"
    PROVIDER_TIMEOUT = "provider_timeout"

    # Of `overloaded`, `queue_full` and `rate_limit_exceeded`.
    PROVIDER_OVERLOADED = "provider_overloaded"
    SHUTTING_DOWN = "shutting_down"
    NO_PROCESS_SLOT = "no_process_slot"
    MACHINE_FULL = "machine_full"
    CHECKER_BUSY = "checker_busy"
    QUEUE_LENGTH = "queue_length"
    QUEUE_TIMEOUT = "queue_timeout"
    PROVIDER_LIMIT = "provider_limit"
    WAIT_TOO_LONG = "wait_too_long"

    # Of `claude_unavailable`.
    CLI_NOT_FOUND = "cli_not_found"
    CLI_TOO_OLD = "cli_too_old"
    CLI_DOES_NOT_RUN = "cli_does_not_run"
    CLI_REPLACED = "cli_replaced"
    CIRCUIT_OPEN = "circuit_open"
    NOT_STARTED = "not_started"
    INVALID_EXTRA_BODY = "invalid_extra_body"

    # Of `schema_not_satisfied`.
    SCHEMA_MISMATCH = "schema_mismatch"
    SCHEMA_NOT_CHECKED = "schema_not_checked"

    # Of errors of a request (4xx).
    PROVIDER_REFUSED = "provider_refused"
