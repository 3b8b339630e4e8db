"""Imagined processes with CLIs that take bodies: each step happens on command.

What a real one would do by itself, in its own time, is done here when the test says so:
take the next line of its input, say a word, end its answer, die. It keeps what it was
told as the real one does, so that a test can tell whether what is asked upstream is
what one client has asked, and nothing else.

Source: docs/claude-cli-protocol.md, "Body mode".
"""

from typing import Any

from attrs import define, field, frozen
from typing_extensions import override

from tests.support.imagined_process import ImaginedProcess, stream_event


@frozen
class Upstream:
    """A request to the provider."""

    system: str
    body: str
    first_text: str


@define(eq=False)
class ImaginedClaude(ImaginedProcess):
    """The transport of a process, and the CLI in it."""

    # What it was told.
    system: str = ""
    body: str = ""
    limit: str = ""
    # The question that its conversation has, and the request that is under way.
    uuid: str = ""
    request: Upstream | None = None
    requests: list[Upstream] = field(factory=list)

    # What the CLI does.

    @property
    def is_answering(self) -> bool:
        """Whether a request to the provider runs."""
        return self.request is not None

    def step(self) -> None:
        """Read one line of stdin."""
        message = self.inbox.popleft()
        if message["type"] == "control_request":
            self._control(message["request_id"], message["request"])
        elif message["type"] == "user":
            self._ask(message)

    def retry(self) -> None:
        """Have the provider refuse, and report a retry."""
        self._has_begun = False
        self.said.clear()
        self.write_out(
            {
                "type": "system",
                "subtype": "api_retry",
                "attempt": 1,
                "retry_delay_ms": 500,
                "error_status": 529,
                "error": "overloaded",
            }
        )

    def finish(self, reason: str = "end_turn") -> None:
        """End the answer, and the turn."""
        request, self.request = self.request, None
        assert request is not None
        usage = {"input_tokens": 1, "output_tokens": 1}
        self.write_out(
            *self._opening(),
            stream_event("content_block_stop", index=0),
            stream_event("message_delta", delta={"stop_reason": reason}, usage=usage),
            stream_event("message_stop"),
        )
        if reason == "max_tokens" and self.limit != "1":
            # It asks for the rest by itself.
            self._has_begun = False
            self.request = request
            self.requests.append(request)
            self.write_out(*self._opening())
            return
        terminal = "blocking_limit" if reason == "max_tokens" else "completed"
        self.write_out(_result(terminal_reason=terminal, stop_reason=reason))

    def fail(self, status: int) -> None:
        """Have the provider refuse, without a retry."""
        self.request = None
        text = f"API Error: {status} no"
        blocks = [{"type": "text", "text": text}]
        whole = {"id": "s", "model": "<synthetic>", "content": blocks}
        told = {"type": "assistant", "message": whole, "parent_tool_use_id": None}
        self.write_out(
            {**told, "error": "server_error"},
            _result(
                is_error=True,
                api_error_status=status,
                terminal_reason="api_error",
                result=text,
            ),
        )

    @override
    def _opening(self) -> list[dict[str, Any]]:
        if self._has_begun:
            return []
        self._has_begun = True
        identifier = f"msg_{self.pid}x{next(self._numbers)}"
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": identifier, "model": "m", "content": [], "usage": usage}
        block = {"type": "text", "text": ""}
        return [
            stream_event("message_start", message=message),
            stream_event("content_block_start", index=0, content_block=block),
        ]

    def _ask(self, message: dict[str, Any]) -> None:
        assert self.request is None, "a question was written while another is asked"
        assert not self.uuid, "the question before was not taken back"
        self.uuid = message["uuid"]
        if self.limit == "1":
            # Too long for it: nothing goes up.
            self.write_out(
                _result(is_error=True, terminal_reason="blocking_limit", result="no")
            )
            return
        text = message["message"]["content"]
        self.request = Upstream(self.system, self.body, text)
        self.requests.append(self.request)
        self.said, self._has_begun = [], False
        self.write_out({"type": "system", "subtype": "init", "tools": []})

    def _control(self, identifier: str, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {}
        error = ""
        match request["subtype"]:
            case "initialize":
                answer = {"models": [], "claude_code_version": "2.1.332"}
            case "set_model" if not request["system_prompt"]:
                error = "it must not be empty"
            case "set_model":
                self.system = request["system_prompt"]
            case "apply_flag_settings":
                told = request["settings"].get("env", {})
                self.body = told.get("CLAUDE_CODE_EXTRA_BODY", self.body)
                self.limit = told.get("CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE", self.limit)
            case "rewind_conversation":
                is_there = request["target_message_uuid"] == self.uuid
                good = is_there and self.request is None
                answer = {"rewound": good, "precedingAssistantUuid": None}
                if good:
                    self.uuid = ""
            case "interrupt":
                answer = {"still_queued": []}
            case _:
                error = "Unsupported control request subtype"
        about: dict[str, Any] = {"request_id": identifier, "subtype": "success"}
        about |= {"subtype": "error", "error": error} if error else {"response": answer}
        self.write_out({"type": "control_response", "response": about})
        if request["subtype"] == "interrupt" and self.request is not None:
            self.request = None
            self.write_out(
                _result(
                    subtype="error_during_execution",
                    is_error=True,
                    terminal_reason="aborted_streaming",
                )
            )


def _result(**fields: Any) -> dict[str, Any]:
    about = {"subtype": "success", "is_error": False, "num_turns": 1}
    return {"type": "result", **about, **fields}
