"""A scripted CLI that takes bodies, run as a child process.

``fake_worker_cli.py FAULTS LOG [the CLI's arguments]``: every line from stdin goes to
LOG. The first word of a question chooses its answer (see `Answers`). FAULTS are
separated by commas:

=====================  ======================================================
``mute:SUBTYPE``       does not answer control requests of this subtype
``refuse:SUBTYPE``     answers them with an error
``old:VERSION``        reports this version
``ancient``            takes an empty system prompt, and reports no version
``keeps``              does not rewind
``older``              after a rewind, still has an older message
``queues``             after an interrupt, has something queued
``holds-on``           after an interrupt, goes on
``guesses``            has its own guess for the tokens of a text
``counts-other``       does not say how many tokens a text has
``refuse-limit``       refuses the limit that stops it from asking again
=====================  ======================================================

It uses the standard library only, because it has to start fast.
"""

import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn


def emit(*records: dict[str, Any] | bytes) -> None:
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in records]
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
    sys.stdout.buffer.flush()


def stream(kind: str, **fields: Any) -> dict[str, Any]:
    event = {"type": kind, **fields}
    return {"type": "stream_event", "event": event, "parent_tool_use_id": None}


def started(identifier: str = "msg_1") -> dict[str, Any]:
    usage = {"input_tokens": 3, "output_tokens": 1}
    message = {"id": identifier, "model": "fake-1", "content": [], "usage": usage}
    return stream("message_start", message=message)


def opened() -> dict[str, Any]:
    block = {"type": "text", "text": ""}
    return stream("content_block_start", index=0, content_block=block)


def delta(text: str) -> dict[str, Any]:
    inner = {"type": "text_delta", "text": text}
    return stream("content_block_delta", index=0, delta=inner)


def ended(reason: str | None) -> tuple[dict[str, Any], ...]:
    usage = {"output_tokens": 2}
    return (
        stream("content_block_stop", index=0),
        stream("message_delta", delta={"stop_reason": reason}, usage=usage),
        stream("message_stop"),
    )


def result(cost: float = 0.5, **fields: Any) -> dict[str, Any]:
    about = {"subtype": "success", "is_error": False, "num_turns": 1}
    return {"type": "result", **about, "total_cost_usd": cost, **fields}


def retry(delay_ms: float, status: int, error: str, attempt: int = 1) -> dict[str, Any]:
    return {
        "type": "system",
        "subtype": "api_retry",
        "attempt": attempt,
        "retry_delay_ms": delay_ms,
        "error_status": status,
        "error": error,
    }


def sleep_for_ever() -> NoReturn:
    while True:
        time.sleep(1000)


class Lines:
    """Reads lines from stdin, and logs them."""

    def __init__(self, log: str) -> None:
        self._log = open(log, "ab", buffering=0)  # noqa: SIM115  # until the process ends
        self._buffer = b""

    def read(self) -> dict[str, Any]:
        pieces = [self._buffer]
        while b"\n" not in pieces[-1]:
            pieces.append(os.read(0, 2**16))
            if not pieces[-1]:
                sys.exit(0)
        self._buffer = b"".join(pieces)
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._log.write(line + b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def has_more(self, seconds: float) -> bool:
        """Whether input comes within a time."""
        return bool(self._buffer or select.select([0], [], [], seconds)[0])


class CLI:
    """The state of the process."""

    def __init__(self, faults: list[str], log: str) -> None:
        self.faults = faults
        self.log = log
        self.lines = Lines(log)
        self.limit = ""
        self.cost = 0.0
        self.system = ""
        self.uuid = ""
        self.is_at_turn = False

    def has(self, fault: str) -> bool:
        return fault in self.faults

    def run(self) -> None:
        while True:
            message = self.lines.read()
            if message["type"] == "control_request":
                self.control(message["request_id"], message["request"])
            elif message["type"] == "user":
                self.uuid = message["uuid"]
                self.is_at_turn = True
                if self.limit == "1":
                    # With this limit every prompt is too long.
                    self.finish(is_error=True, terminal_reason="blocking_limit")
                else:
                    Answers(self).give(message["message"]["content"])

    def finish(self, **fields: Any) -> None:
        self.cost += 0.5
        self.is_at_turn = False
        emit(result(self.cost, **fields))

    def control(self, identifier: str, request: dict[str, Any]) -> None:
        subtype = request["subtype"]
        told: dict[str, Any] | None = None
        error = "no" if self.has(f"refuse:{subtype}") else ""
        match subtype:
            case "initialize":
                told = {"models": [{"value": "sonnet", "resolvedModel": "fake-1"}]}
                for fault in self.faults:
                    if fault.startswith("old:"):
                        told["claude_code_version"] = fault.removeprefix("old:")
            case "set_model" if not request["system_prompt"]:
                error = "" if self.has("ancient") else "must be a non-empty string"
            case "set_model":
                self.system = request["system_prompt"]
            case "apply_flag_settings":
                env = request["settings"]["env"]
                if self.has("refuse-limit") and len(env) == 1:
                    error = "no"
                self.limit = env.get("CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE", self.limit)
            case "rewind_conversation":
                told = self.rewound(request)
            case "interrupt":
                told = {"still_queued": ["x"] if self.has("queues") else []}
            case "get_context_usage":
                tokens = len(self.system) + 1000
                if self.has("guesses"):
                    tokens = (2 * len(self.system) + 3) // 6
                name = "Else" if self.has("counts-other") else "System prompt"
                told = {"categories": [{"name": name, "tokens": tokens}]}
            case "ccproxy_ping":
                error = "Unsupported control request subtype"
        if self.has(f"mute:{subtype}"):
            return
        reply = (
            {"subtype": "error", "error": error} if error else {"subtype": "success"}
        )
        about = {**reply, "request_id": identifier, "response": told}
        emit({"type": "control_response", "response": about})
        if subtype == "interrupt" and self.is_at_turn and not self.has("holds-on"):
            self.finish(subtype="error_during_execution", is_error=True)

    def rewound(self, request: dict[str, Any]) -> dict[str, Any]:
        is_known = (
            request["target_message_uuid"]
            == request["last_seen_user_message_uuid"]
            == self.uuid
        )
        self.uuid = ""
        if self.has("keeps") or not is_known or self.is_at_turn:
            return {"rewound": False, "reason": "target_not_found"}
        older = "older-uuid" if self.has("older") else None
        return {"rewound": True, "precedingAssistantUuid": older}


class Answers:
    """The answers to a question, by the first word of its text."""

    def __init__(self, cli: CLI) -> None:
        self.cli = cli

    def give(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        act = getattr(self, word.replace("-", "_"), self.answer)
        act(*rest.split())

    def answer(self, *_: str) -> None:
        emit(started(), opened(), delta("fake "), delta("answer"), *ended("end_turn"))
        self.cli.finish()

    def half(self, *_: str) -> None:
        """Write half an answer, then read on."""
        emit(started(), opened(), delta("half "))

    def nothing(self) -> None:
        """Write nothing, and read on."""

    def ends(self, reason: str, how: str = "") -> None:
        """End for a reason after which the CLI asks again, unless a limit stops it."""
        emit(started(), opened(), delta("some "))
        if how != "at-once":
            self.listen_until_limited()
        emit(*ended(reason))
        if self.cli.limit != "1":
            # The CLI asks again some milliseconds later.
            self.cli.lines.has_more(0.1)
            open(f"{self.cli.log}.asked", "w").close()
            emit(started("msg_2"), opened(), delta("other"), *ended("end_turn"))
            self.cli.finish()
        elif how == "anyway":
            emit(started("msg_2"))
        elif how != "never":
            emit({"type": "user", "isSynthetic": True, "message": {"content": "go on"}})
            self.cli.finish(is_error=True, terminal_reason="blocking_limit")

    def listen_until_limited(self) -> None:
        while self.cli.limit != "1":
            message = self.cli.lines.read()
            self.cli.control(message["request_id"], message["request"])

    def twice(self) -> None:
        emit(started(), opened(), delta("some "), started("msg_2"), delta("other"))

    def whole_twice(self) -> None:
        block = {"type": "text", "text": "other"}
        message = {"id": "msg_2", "model": "fake-1", "content": [block]}
        self.half()
        emit({"type": "assistant", "message": message})

    def later(self) -> None:
        """Write a message after the answer's end."""
        self.answer()
        message = self.cli.lines.read()
        self.cli.control(message["request_id"], message["request"])
        emit(started("msg_2"))

    def dies(self, status: str) -> None:
        emit(started(), opened(), delta("half "))
        print("my last words", file=sys.stderr)
        sys.stderr.flush()
        os._exit(int(status))

    def dies_early(self) -> None:
        os._exit(3)

    def says(self, line: str) -> None:
        known = {
            "cut": b'{"type":"result","subtyp',
            "glued": b'a warning{"type":"result"}',
            "utf8": b'{"type":"result","subtype":"\xff\xfe"}',
            "shape": b'{"type":"result","subtype":5}',
            "block": json.dumps(
                stream("content_block_start", content_block={"type": "text"})
            ).encode(),
            "long": b'{"type":"x","y":"' + b"z" * (17 * 2**20) + b'"}',
        }
        emit(started(), opened(), delta("half "), known[line])
        sleep_for_ever()

    def hurts(self, number: str) -> None:
        emit(started(), opened(), delta("half "))
        os.kill(os.getpid(), int(number))
        sleep_for_ever()

    def floods(self) -> None:
        emit(started(), opened())
        for _ in range(20_000):
            emit(delta("x" * 100))
        emit(*ended("end_turn"))
        self.cli.finish()

    def waits(self, delay_ms: str) -> None:
        emit(retry(float(delay_ms), 529, "overloaded"))
        if float(delay_ms) < 1000:
            self.answer()

    def login(self) -> None:
        emit(retry(1, 401, "authentication_failed", 1))
        emit(retry(1, 401, "authentication_failed", 2))

    def asks(self) -> None:
        request = {"subtype": "can_use_tool", "tool_name": "Bash"}
        emit({"type": "control_request", "request_id": "q1", "request": request})
        reply = self.cli.lines.read()["response"]
        emit(started(), opened(), delta(f"{reply['request_id']} {reply['subtype']}"))
        emit(*ended("end_turn"))
        self.cli.finish()

    def stray(self) -> None:
        """Write replies to unknown requests, and lines of unknown types."""
        for subtype in ("success", "error"):
            about = {"subtype": subtype, "request_id": "nobody's", "error": "no"}
            emit({"type": "control_response", "response": about})
        emit({"type": "from_the_future", "event": []}, b"")
        self.answer()

    def limits(self) -> None:
        info = {"status": "allowed_warning", "resetsAt": 5.0, "utilization": 0.9}
        about = {"rateLimitType": "five_hour", **info}
        emit({"type": "rate_limit_event", "rate_limit_info": about})
        self.answer()

    def stubborn(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.answer()


def main() -> None:
    faults, log, *_ = sys.argv[1:]
    CLI(faults.split(","), log).run()


if __name__ == "__main__":
    main()
