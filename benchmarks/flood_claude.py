"""A stand-in for the CLI that writes as fast as it can.

It answers ``--version`` and the control requests of the proxy. Its answer to a user
message ``FLOOD N`` has N text deltas, in lines of the real CLI's form (2.1.330). All
lines are made before the first is written. With ``DRIP`` in the message, each line is
written after the previous line was read, so that each needs a read of its own. With
``HOLD``, the answer stops after the first delta.
"""

import array
import fcntl
import itertools
import json
import re
import sys
import termios
from collections.abc import Iterator

VERSION = "2.1.332"

_SESSION = "2d1a0c00-7e99-4340-b163-83023bbb5923"
_MODEL = "claude-sonnet-5"
_WRITE_BYTES = 2**20
_USAGE = {"input_tokens": 11, "output_tokens": 1}


def main() -> None:
    if "--version" in sys.argv:
        print(f"{VERSION} (Claude Code)")
        return
    # Unbuffered: each write is one system call.
    with open(1, "wb", buffering=0, closefd=False) as output:
        for line in sys.stdin.buffer:
            made = answers(json.loads(line))
            if b"DRIP" in line:
                for piece in [*made]:
                    wait_until_read(1)
                    output.write(piece)
                continue
            if b"HOLD" in line:
                for piece in itertools.islice(made, 3):
                    output.write(piece)
                continue
            left = memoryview(b"".join(made))
            while left:
                left = left[output.write(left[:_WRITE_BYTES]) :]


def wait_until_read(pipe: int) -> None:
    """Poll without sleep until a pipe is empty."""
    left = array.array("i", [1])
    while left[0]:
        fcntl.ioctl(pipe, termios.FIONREAD, left)


def answers(record: dict[str, object]) -> Iterator[bytes]:
    if record["type"] == "control_request":
        request: dict[str, object] = record["request"]  # type: ignore[assignment]
        yield control_response(str(record["request_id"]), request)
    elif record["type"] == "user":
        match = re.search(r"FLOOD (\d+)", json.dumps(record))
        yield from flood(int(match[1]) if match else 1)


def control_response(request_id: str, request: dict[str, object]) -> bytes:
    if request.get("system_prompt") == "":
        # A CLI that refuses an empty system prompt is new enough for the proxy.
        why = {"subtype": "error", "request_id": request_id, "error": "empty"}
        return _line({"type": "control_response", "response": why})
    model = {"value": "sonnet", "resolvedModel": _MODEL, "displayName": "Sonnet"}
    content = {
        "models": [model],
        "account": {},
        "claude_code_version": VERSION,
        "rewound": True,
        "precedingAssistantUuid": None,
    }
    response = {"subtype": "success", "request_id": request_id, "response": content}
    return _line({"type": "control_response", "response": response})


def flood(count: int) -> Iterator[bytes]:
    message: dict[str, object] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": _MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _USAGE,
    }
    yield _event(0, {"type": "message_start", "message": message})
    block = {"type": "text", "text": ""}
    yield _event(1, {"type": "content_block_start", "index": 0, "content_block": block})
    # Encoding is slow, and the lines differ in text and uuid only.
    delta = {"type": "text_delta", "text": "TEXT"}
    sample = _event(0, {"type": "content_block_delta", "index": 0, "delta": delta})
    form = sample.decode().replace("%", "%%").replace("TEXT", " word%d")
    form = form.replace(_uuid(0), _uuid(0)[:-12] + "%012x")
    for number in range(count):
        yield (form % (number, number)).encode()
    yield _event(2, {"type": "content_block_stop", "index": 0})
    usage = {"output_tokens": count}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event(3, {"type": "message_delta", "delta": stop, "usage": usage})
    yield _event(4, {"type": "message_stop"})
    yield _line(
        {
            "type": "result",
            "subtype": "success",
            "is_error": False,
            "num_turns": 1,
            "result": "",
            "stop_reason": "end_turn",
            "session_id": _SESSION,
            "usage": {**_USAGE, **usage},
        }
    )


def _event(number: int, event: dict[str, object]) -> bytes:
    return _line(
        {
            "type": "stream_event",
            "event": event,
            "session_id": _SESSION,
            "parent_tool_use_id": None,
            "uuid": _uuid(number),
            "api_message_id": "msg_1",
        }
    )


def _uuid(number: int) -> str:
    return f"9f7a78f7-53b3-47f5-8c56-{number:012x}"


def _line(record: dict[str, object]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


if __name__ == "__main__":
    main()
