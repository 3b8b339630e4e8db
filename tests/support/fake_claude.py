"""A scripted CLI of native mode, run as a child process.

``fake_claude.py SCENARIO LOG [the CLI's own arguments]``: every line that it is
sent goes to LOG. It speaks enough stream-json to be asked one question; what it
then does wrong is the scenario. Standard library only, because it has to start
fast.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn


def emit(record: dict[str, Any] | bytes) -> None:
    line = record if isinstance(record, bytes) else json.dumps(record).encode()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def stream(kind: str, **fields: Any) -> None:
    event = {"type": kind, **fields}
    emit({"type": "stream_event", "event": event, "parent_tool_use_id": None})


def begin() -> None:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_fake", "model": "fake-1", "content": [], "usage": usage}
    stream("message_start", message=message)
    block = {"type": "text", "text": ""}
    stream("content_block_start", index=0, content_block=block)


def delta(text: str) -> None:
    inner = {"type": "text_delta", "text": text}
    stream("content_block_delta", index=0, delta=inner)


def end() -> None:
    stream("content_block_stop", index=0)
    usage = {"output_tokens": 2}
    stream("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)
    stream("message_stop")
    emit({"type": "result", "subtype": "success", "is_error": False, "num_turns": 1})


def answer(*texts: str) -> None:
    begin()
    for text in texts or ("fake ", "answer"):
        delta(text)
    end()


def sleep_for_ever() -> NoReturn:
    while True:
        time.sleep(1000)


def say_and_wait(line: bytes) -> None:
    begin()
    delta("half ")
    emit(line)
    sleep_for_ever()


def die(status: int, words: str) -> None:
    begin()
    delta("half ")
    print("first words", file=sys.stderr)
    print(words, file=sys.stderr)
    sys.stderr.flush()
    os._exit(status)


def half_a_line() -> None:
    begin()
    sys.stdout.buffer.write(b'{"type":"stream_event","ev')
    sys.stdout.buffer.flush()
    os._exit(0)


def flood() -> None:
    begin()
    text = "x" * 1000
    while True:
        delta(text)


def unknown_messages() -> None:
    emit({"type": "from_the_future", "message": 3, "event": []})
    emit({"type": "system", "subtype": "new", "attempt": "many"})
    emit(b"")
    begin()
    stream("new_event", delta=7)
    stream("content_block_delta", index=0, delta={"type": "new_delta", "what": 1})
    delta("known")
    end()


def ask_permission(read: Callable[[], dict[str, Any]]) -> None:
    request = {"subtype": "can_use_tool", "tool_name": "Bash"}
    emit({"type": "control_request", "request_id": "q1", "request": request})
    reply = read()["response"]
    answer(f"{reply['request_id']} {reply['subtype']}")


def sleep_beside(*, in_own_session: bool = False) -> None:
    """Start a child that outlives this program."""
    # It would take a third of each start of this program.
    import subprocess

    subprocess.Popen(["sleep", "1000"], start_new_session=in_own_session)


def leave_child() -> None:
    """Start a child in the process group."""
    sleep_beside()
    begin()
    sleep_for_ever()


def leave_children() -> None:
    """Start a child in the group and one in its own session; both hold stdout."""
    sleep_beside()
    sleep_beside(in_own_session=True)
    begin()
    delta("children ")
    sleep_for_ever()


def call() -> None:
    """Call a tool of the client's, and wait for its result."""
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_call", "model": "fake-1", "content": [], "usage": usage}
    stream("message_start", message=message)
    block = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}
    stream("content_block_start", index=0, content_block=block)
    stream("content_block_stop", index=0)
    stream("message_delta", delta={"stop_reason": "tool_use"}, usage=usage)


def use_own() -> None:
    """Write a message with a call of Claude Code's own tool, and its result."""
    message = {"id": "msg_own", "model": "fake-1", "content": [], "usage": {}}
    stream("message_start", message=message)
    block = {"type": "tool_use", "id": "toolu_own", "name": "Read", "input": {}}
    stream("content_block_start", index=0, content_block=block)
    stream("content_block_stop", index=0)
    stream("message_delta", delta={"stop_reason": "tool_use"}, usage={})
    stream("message_stop")
    result = {"type": "tool_result", "tool_use_id": "toolu_own", "content": "no file"}
    emit({"type": "user", "message": {"role": "user", "content": [result]}})


def call_alone() -> NoReturn:
    call()
    sleep_for_ever()


def call_and_wait() -> NoReturn:
    use_own()
    call()
    sleep_for_ever()


def call_and_die() -> NoReturn:
    use_own()
    call()
    os._exit(4)


def call_and_go_on() -> NoReturn:
    """Write a result of the client's call that the client did not send."""
    use_own()
    call()
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no"}
    emit({"type": "user", "message": {"role": "user", "content": [block]}})
    sleep_for_ever()


def call_late(read: Callable[[], dict[str, Any]]) -> None:
    """Ask for the result after the client has sent it."""
    use_own()
    call()
    stream("message_stop")
    part = {"id": "msg_call", "model": "fake-1", "content": [{"type": "tool_use"}]}
    emit({"type": "assistant", "message": part})
    meta = {"claudecode/toolUseId": "toolu_1"}
    params = {"name": "look", "arguments": {}, "_meta": meta}
    message = {"method": "tools/call", "id": 3, "params": params}
    about = {"subtype": "mcp_message", "server_name": "client", "message": message}
    emit({"type": "control_request", "request_id": "q1", "request": about})
    reply = read()["response"]["response"]["mcp_response"]
    answer(f"{reply['id']} {json.dumps(reply['result'])}")


def list_tools(server: str) -> None:
    """Ask a tool server for its tools."""
    message = {"method": "tools/list", "id": 1}
    about = {"subtype": "mcp_message", "server_name": server, "message": message}
    emit({"type": "control_request", "request_id": f"list-{server}", "request": about})


def wait_for(path: str) -> None:
    """Write half an answer, and the rest when a file exists."""
    begin()
    delta("fake ")
    while not os.path.exists(path):
        time.sleep(0.01)
    delta("answer")
    end()


def half() -> None:
    """Write half an answer, then read on."""
    begin()
    delta("half ")


def other_tools() -> None:
    """Report other tools than the client's."""
    emit({"type": "system", "subtype": "init", "tools": ["stale"]})
    answer()


def start_twice(identifier: str) -> None:
    """Begin the answer a second time, in a message of this id."""
    begin()
    delta("fake ")
    message = {"id": identifier, "model": "fake-1", "content": []}
    stream("message_start", message=message)
    delta("fake ")
    delta("answer")
    end()


def delta_too_early() -> None:
    delta("fake ")
    answer()


def end_twice() -> None:
    answer()
    end()


def tell_whole(text: str, identifier: str = "msg_fake") -> None:
    block = {"type": "text", "text": text}
    message = {"id": identifier, "model": "fake-1", "content": [block]}
    emit({"type": "assistant", "message": message, "parent_tool_use_id": None})


def tell_again() -> None:
    """Write whole messages after the result."""
    answer()
    tell_whole("fake answer")
    tell_whole("another's", "msg_other")


def answer_what_was_not_asked() -> None:
    begin()
    for subtype in ("success", "error"):
        about = {"subtype": subtype, "request_id": "nobody's", "error": "no"}
        emit({"type": "control_response", "response": about})
    delta("fake answer")
    end()


def one_long_line(megabytes: int) -> NoReturn:
    begin()
    delta("fake ")
    piece = b"z" * 2**20
    with suppress(BrokenPipeError):
        for _ in range(megabytes):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    sleep_for_ever()


def hurt(number: int) -> NoReturn:
    begin()
    delta("fake ")
    os.kill(os.getpid(), number)
    sleep_for_ever()


def spew() -> None:
    """Write far more than a pipe holds, in mid-answer."""
    begin()
    delta("fake ")
    for _ in range(40):
        sys.stderr.write("x" * 2**20)
        sys.stderr.flush()
    delta("answer")
    end()


def noise() -> None:
    sys.stderr.write("noise\n" * 200_000)
    answer()


def chat() -> None:
    """Write lines between those of the protocol."""
    emit(b"(node:1) Warning: something is deprecated")
    begin()
    delta("fake ")
    emit(b"[1, 2]\n\xff\xfe\nnull")
    delta("answer")
    emit(b"one more")
    end()


def write_noise_only() -> NoReturn:
    for _ in range(200):
        emit(b"this is not JSON")
    sleep_for_ever()


def fail_if_armed(log: str, place: str) -> None:
    """Fail before the first word as the file beside the log says: one process, once."""
    armed = f"{log}.armed"
    try:
        with open(armed) as file:
            where, fault = file.read().split()
        if where != place:
            return
        os.rename(armed, f"{armed}.taken")
    except FileNotFoundError:
        return
    match fault:
        case "exits":
            os._exit(5)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "cut-record":
            emit(b'{"type":"result","subtyp')
        case "garbage":
            write_noise_only()
    sleep_for_ever()


def retry(delay_ms: int, status: int, error: str) -> NoReturn:
    emit(
        {
            "type": "system",
            "subtype": "api_retry",
            "attempt": 1,
            "max_retries": 10,
            "retry_delay_ms": delay_ms,
            "error_status": status,
            "error": error,
        }
    )
    sleep_for_ever()


def main() -> None:
    scenario, log, *arguments = sys.argv[1:]
    if "--version" in arguments:
        print("2.1.100 (Claude Code)" if scenario == "old" else "2.1.330 (Claude Code)")
        return
    if scenario == "broken" and os.path.exists(f"{log}.broken"):
        sys.exit("I am broken")
    fail_if_armed(log, "start")
    record = open(log, "ab", buffering=0)  # noqa: SIM115  # as long as we live

    def read() -> dict[str, Any]:
        line = sys.stdin.buffer.readline()
        if not line:
            sys.exit(0)
        record.write(line)
        message: dict[str, Any] = json.loads(line)
        return message

    def reply(message: dict[str, Any], **response: Any) -> None:
        about = {"subtype": "success", "request_id": message["request_id"], **response}
        emit({"type": "control_response", "response": about})

    if scenario == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    limit = ""
    is_native = any("mcp__" in argument for argument in sys.argv)
    while True:
        message = read()
        if message["type"] == "control_request":
            subtype = message["request"]["subtype"]
            if subtype == "apply_flag_settings":
                fail_if_armed(log, "command")
                env = message["request"]["settings"].get("env") or {}
                limit = env.get("CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE", limit)
            if subtype == "initialize" and scenario == "mute":
                sleep_for_ever()
            if subtype == "initialize" and scenario == "refuses":
                reply(message, subtype="error", error="no such thing")
                continue
            if subtype == "set_model" and not message["request"]["system_prompt"]:
                if scenario == "turned-ancient" and is_native:
                    reply(message)
                else:
                    reply(message, subtype="error", error="it must not be empty")
                continue
            version = "2.1.100" if scenario == "turned-old" else "2.1.330"
            model = {"value": "sonnet", "resolvedModel": "fake-1"}
            told: dict[str, Any] = {"models": [model], "claude_code_version": version}
            if scenario == "turned-ancient":
                # As all do before 2.1.300.
                del told["claude_code_version"]
            if scenario == "logged-out":
                told["account"] = {"tokenSource": "none"}
            if scenario == "key-helper":
                told["account"] = {"tokenSource": "apiKeyHelper"}
            answers: dict[str, Any] = {
                "initialize": told,
                "rewind_conversation": {"rewound": scenario != "stays"},
            }
            if subtype != "apply_flag_settings" or scenario != "ignores-settings":
                reply(message, response=answers.get(subtype))
            if subtype == "mcp_set_servers" and scenario != "asks-no-tools":
                for server in message["request"]["servers"]:
                    list_tools(server)
            if subtype == "interrupt" and scenario != "holds-on":
                about = {"subtype": "error_during_execution", "is_error": True}
                emit({"type": "result", **about, "num_turns": 1})
        elif message.get("shouldQuery") is False:
            about = {"subtype": "success", "is_error": False, "num_turns": 0}
            emit({"type": "result", **about})
        elif message["type"] == "user" and limit == "1":
            # With this limit every prompt is too long.
            about = {"subtype": "success", "terminal_reason": "blocking_limit"}
            emit({"type": "result", **about, "is_error": True, "num_turns": 1})
        elif message["type"] == "user":
            fail_if_armed(log, "question")
            # One that is asked to be good is.
            good = "please" in json.dumps(message.get("message"))
            if scenario == "dies-once" and not os.path.exists(f"{log}.died"):
                open(f"{log}.died", "x").close()
                os._exit(7)
            if scenario == "waits-for-file" and not good:
                wait_for(f"{log}.go")
            else:
                act("answer" if good else scenario, read)


def act(scenario: str, read: Callable[[], dict[str, Any]]) -> None:
    scenarios: dict[str, Callable[[], None]] = {
        "cut-record": lambda: say_and_wait(b'{"type":"result","subtyp'),
        "glued": lambda: say_and_wait(b'a warning{"type":"result"}'),
        "garbage": write_noise_only,
        "chatty": chat,
        "utf8": lambda: say_and_wait(b'{"type":"result","subtype":"\xff\xfe"}'),
        "shape": lambda: say_and_wait(b'{"type":"result","subtype":5}'),
        "long": lambda: say_and_wait(
            b'{"type":"x","y":"' + b"z" * (17 * 2**20) + b'"}'
        ),
        "silent": sleep_for_ever,
        "falls-silent": lambda: say_and_wait(b'{"type":"keep_alive"}'),
        "stubborn": lambda: say_and_wait(b'{"type":"keep_alive"}'),
        "dies": lambda: die(3, "my last words"),
        "exits": lambda: os._exit(0),
        "half": half_a_line,
        "flood": flood,
        "future": unknown_messages,
        "asks": lambda: ask_permission(read),
        "child": leave_child,
        "children": leave_children,
        "waits-long": lambda: retry(500_000, 429, "rate_limit"),
        "waits": lambda: retry(50, 529, "overloaded"),
        "noisy": noise,
        "spews": spew,
        "killed": lambda: hurt(signal.SIGKILL),
        "stopped": lambda: hurt(signal.SIGSTOP),
        "exits-midway": lambda: die(0, ""),
        "very-long": lambda: one_long_line(200),
        "starts-again": lambda: start_twice("msg_2"),
        "stammers": lambda: start_twice("msg_fake"),
        "early-delta": delta_too_early,
        "two-results": end_twice,
        "late-messages": tell_again,
        "stray-responses": answer_what_was_not_asked,
        "holds": half,
        "holds-on": half,
        "other-tools": other_tools,
        "calls": call_and_wait,
        "calls-only": call_alone,
        "calls-dies": call_and_die,
        "calls-goes-on": call_and_go_on,
        "calls-late": lambda: call_late(read),
    }
    scenarios.get(scenario, answer)()


if __name__ == "__main__":
    main()
