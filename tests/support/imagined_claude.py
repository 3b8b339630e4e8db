"""Imagined processes with CLIs that take bodies: each step happens on command.

What a real one would do by itself, in its own time, is done here when the test says so:
take the next line of its input, say a word, end its answer, die. It keeps what it was
told as the real one does, so that a test can tell whether what is asked upstream is
what one client has asked, and nothing else.

Source: docs/claude-cli-protocol.md, "The body set whole".
"""

import json
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from attrs import define, field, frozen
from twisted.internet.error import ProcessTerminated
from twisted.python.failure import Failure

# No process of this machine has such a number: what is killed by it is nobody.
_FIRST_PID = 2**30


@frozen
class Upstream:
    """A request to the provider."""

    system: str
    body: str
    first_text: str


@define(eq=False)
class ImaginedClaude:
    """The transport of a process, and the CLI in it."""

    protocol: Any
    pid: int
    words: Callable[[], str]
    inbox: deque[dict[str, Any]] = field(factory=deque)
    unread: list[bytes] = field(factory=list)
    is_paused: bool = False
    signals: list[str] = field(factory=list)
    is_gone: bool = False
    # What it was told.
    system: str = ""
    body: str = ""
    limit: str = ""
    # The question that its conversation has, and the request that is under way.
    uuid: str = ""
    request: Upstream | None = None
    requests: list[Upstream] = field(factory=list)
    said: list[str] = field(factory=list)
    _has_begun: bool = False
    _numbers: Any = field(factory=lambda: count(1))

    # What the transport is asked for.

    def write(self, data: bytes) -> None:
        assert not self.is_gone
        self.inbox += [json.loads(line) for line in data.splitlines()]

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False
        unread, self.unread = self.unread, []
        if unread:
            self.protocol.outReceived(b"".join(unread))

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def loseConnection(self) -> None:
        pass

    # What the process does.

    def exit(self, status: int = 1) -> None:
        """End, and be reaped."""
        self.is_gone = True
        number = 9 if "KILL" in self.signals else None
        reason = Failure(ProcessTerminated(None if number else status, number))
        self.protocol.processExited(reason)
        self.protocol.processEnded(reason)

    def write_out(self, *records: Mapping[str, Any] | bytes) -> None:
        """Write lines to stdout in one read."""
        lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
        data = b"".join(line + b"\n" for line in lines)
        if self.is_paused:
            self.unread.append(data)
        else:
            self.protocol.outReceived(data)

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

    def say(self) -> None:
        """Write one more delta."""
        word = self.words()
        self.said.append(word)
        delta = {"type": "text_delta", "text": word}
        self.write_out(
            *self._opening(), _event("content_block_delta", index=0, delta=delta)
        )

    def finish(self, reason: str = "end_turn") -> None:
        """End the answer, and the turn."""
        request, self.request = self.request, None
        assert request is not None
        usage = {"input_tokens": 1, "output_tokens": 1}
        self.write_out(
            *self._opening(),
            _event("content_block_stop", index=0),
            _event("message_delta", delta={"stop_reason": reason}, usage=usage),
            _event("message_stop"),
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

    def _opening(self) -> list[dict[str, Any]]:
        if self._has_begun:
            return []
        self._has_begun = True
        identifier = f"msg_{self.pid}x{next(self._numbers)}"
        usage = {"input_tokens": 1, "output_tokens": 1}
        message = {"id": identifier, "model": "m", "content": [], "usage": usage}
        block = {"type": "text", "text": ""}
        return [
            _event("message_start", message=message),
            _event("content_block_start", index=0, content_block=block),
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


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    event = {"type": kind, **fields}
    return {"type": "stream_event", "event": event, "parent_tool_use_id": None}


def _result(**fields: Any) -> dict[str, Any]:
    about = {"subtype": "success", "is_error": False, "num_turns": 1}
    return {"type": "result", **about, **fields}


@define(eq=False)
class ImaginedSpawner:
    """Starts imagined processes, or raises ``error``."""

    words: Callable[[], str]
    processes: list[ImaginedClaude] = field(factory=list)
    error: OSError | None = None

    @property
    def living(self) -> list[ImaginedClaude]:
        return [cli for cli in self.processes if not cli.is_gone]

    def spawnProcess(self, protocol: Any, *args: object, **options: object) -> None:
        if self.error is not None:
            raise self.error
        cli = ImaginedClaude(protocol, _FIRST_PID + len(self.processes), self.words)
        self.processes.append(cli)
        protocol.makeConnection(cli)
