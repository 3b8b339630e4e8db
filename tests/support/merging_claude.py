"""A scripted CLI that merges a body into its requests, or fails to.

Arguments: how it merges, then whatever a real one is given. It asks the Messages API at
``ANTHROPIC_BASE_URL`` as the real one does, and speaks enough of its language to be
asked questions one after the other.

==============  ===============================================================
merges          does all of the contract
newer           merges; has another version and another model
lacks:NAME      lacks one behaviour of the contract
no-flag         does not start with ``--debug-to-stderr``
not             ignores the body
half            merges only fields that the CLI does not set itself
twice           sends each question twice
keeps           does not rewind
2.1.248         merges; its requests have this version, which is too old
old             takes an empty system prompt, as CLIs do that are too old
helper          merges; its login needs a helper program
dies            ends at the first question
==============  ===============================================================

It uses the standard library only, because it has to start fast.
"""

import json
import os
import select
import socket
import sys
from typing import Any

_OWN = {"model", "messages", "system", "tools", "max_tokens", "thinking", "stream"}
_ERROR_LOG = "--debug-to-stderr"
_LIMIT = "CLAUDE_CODE_BLOCKING_LIMIT_OVERRIDE"
_OVERLOADED = 529


class CLI:
    """The state of the CLI."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.model = "sonnet"
        self.body = ""
        self.effort: str | None = None
        self.kept: dict[str, Any] = {}
        self.system = ""
        self.earlier: list[dict[str, Any]] = []
        self.tools: list[dict[str, Any]] = []
        self.limit = ""
        self.is_interrupted = False
        self.buffer = b""

    @property
    def version(self) -> str:
        named = {"newer": "2.1.999", "2.1.248": "2.1.248"}
        return named.get(self.how, "2.1.332")

    def lacks(self, name: str) -> bool:
        return self.how == f"lacks:{name}"

    def run(self) -> None:
        while True:
            self.receive()

    def receive(self) -> None:
        """Read what there is on stdin, and act upon its lines."""
        data = os.read(0, 2**16)
        if not data:
            sys.exit(0)
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if told["type"] == "control_request":
                self.control(told["request_id"], told["request"])
            elif told["type"] == "assistant":
                self.earlier.append(message(told))
            elif told["type"] == "user":
                if told.get("shouldQuery", True) or self.lacks("native_history"):
                    self.ask(told["message"]["content"])
                else:
                    self.earlier.append(message(told))
                    self.finish(num_turns=0)

    def control(self, identifier: str, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {}
        error = ""
        match request["subtype"]:
            case "initialize":
                self.offer(request)
                answer = self.about()
            case "set_model":
                error = self.set_system(request["system_prompt"])
            case "apply_flag_settings":
                self.set(request["settings"])
            case "rewind_conversation":
                if not self.lacks("rewind"):
                    self.earlier = []
                kept = self.how == "keeps"
                answer = {"rewound": not kept, "precedingAssistantUuid": None}
            case "interrupt":
                self.is_interrupted = not self.lacks("interrupt")
            case _ if self.lacks("heartbeat"):
                return
            case _:
                error = "Unsupported control request subtype"
        response = {"request_id": identifier, "response": answer}
        if error:
            response |= {"subtype": "error", "error": error}
        else:
            response |= {"subtype": "success"}
        say({"type": "control_response", "response": response})

    def offer(self, request: dict[str, Any]) -> None:
        """Take the tools of native mode."""
        prefix = "mcp__client__" if self.lacks("native_tools") else ""
        for manifest in request.get("sdkMcpServerManifests", {}).values():
            for tool in manifest["toolsListResult"]["tools"]:
                schema = {"input_schema": tool["inputSchema"]}
                self.tools.append({"name": prefix + tool["name"], **schema})
        if self.tools and self.lacks("native_manifest"):
            asked = {"method": "tools/list", "id": 1}
            about = {"subtype": "mcp_message", "server_name": "client"}
            request = {**about, "message": asked}
            say({"type": "control_request", "request_id": "t1", "request": request})
        if "jsonSchema" in request and not self.lacks("native_schema"):
            schema = {"input_schema": request["jsonSchema"]}
            self.tools.append({"name": "StructuredOutput", **schema})

    def about(self) -> dict[str, Any]:
        source = "apiKeyHelper" if self.how == "helper" else "ANTHROPIC_AUTH_TOKEN"
        account = {} if self.lacks("login_report") else {"tokenSource": source}
        model = {"value": "sonnet", "resolvedModel": "claude-sonnet-5-5"}
        models = [] if self.lacks("catalogue") else [model]
        if self.how == "newer":
            models.append({"value": "newer", "resolvedModel": "claude-newer-6"})
        return {"models": models, "account": account}

    def set(self, settings: dict[str, Any]) -> None:
        if not self.lacks("model"):
            self.model = settings.get("model", self.model)
        if not self.lacks("effort"):
            self.effort = settings.get("effortLevel")
        environment = settings["env"]
        self.body = environment.get("CLAUDE_CODE_EXTRA_BODY", self.body)
        self.limit = environment.get(_LIMIT, self.limit)

    def set_system(self, text: str) -> str:
        if not text:
            return "" if self.how == "old" else "it must not be empty"
        if not (self.system and self.lacks("system_prompt")):
            self.system = text
        return ""

    def ask(self, content: Any) -> None:
        if self.how == "dies":
            sys.exit(1)
        if self.lacks("verbatim_text") and "@" in str(content):
            with open(content.partition("@")[2]) as file:
                content += file.read()
        if self.limit == "1":
            # With this limit every prompt is too long.
            self.finish(is_error=True, terminal_reason="blocking_limit")
            return
        self.earlier.append({"role": "user", "content": content})
        identity = {"type": "text", "text": "You are a CLI."}
        prompt = {"type": "text", "text": self.system}
        body = {
            "model": self.model,
            "messages": list(self.earlier),
            "system": [identity, prompt] if self.system else [identity],
            "tools": self.tools,
            "max_tokens": 128000,
            "thinking": {"type": "adaptive"},
            "stream": True,
            **self.merged(),
        }
        if self.effort is not None:
            body["output_config"] = {"effort": self.effort} | body.get(
                "output_config", {}
            )
        self.answer(body)
        if self.how == "twice":
            Answer(self, body, is_told=False)

    def merged(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.body or "{}")
        if self.how == "not" or self.lacks("merged_body"):
            return {}
        if self.how == "half":
            return {name: body[name] for name in body if name not in _OWN}
        if self.lacks("settings_undone"):
            self.kept |= body
            return self.kept
        return body

    def answer(self, body: dict[str, Any]) -> None:
        """Send the request, and what the CLI sends by itself after the answer."""
        answer = Answer(self, body)
        if answer.status == _OVERLOADED:
            if not self.lacks("retries"):
                say(retry())
            answer = Answer(self, body)
        if answer.status != 200:
            self.fail(answer)
            return
        again = {
            "max_tokens": "end_max_tokens",
            "refusal": "end_refusal",
            "tool_use": "one_request",
        }.get(answer.reason, "end_empty" if not answer.has_block else "")
        # A call never makes the CLI ask again: `--max-turns 1` is set.
        is_limited = self.limit == "1" or answer.reason == "tool_use"
        if again and not self.is_interrupted and (not is_limited or self.lacks(again)):
            Answer(self, body)
        names = [tool["name"] for tool in self.tools]
        if answer.reason == "tool_use" and any("tool_1" in name for name in names):
            # Native mode: the CLI waits for the result of the call.
            return
        is_interrupted, self.is_interrupted = self.is_interrupted, False
        self.finish(
            subtype="error_during_execution" if is_interrupted else "success",
            is_error=is_interrupted,
            stop_reason=answer.reason,
            terminal_reason="completed",
        )

    def fail(self, answer: "Answer") -> None:
        if not self.lacks("error_log") and _ERROR_LOG in sys.argv:
            document = json.dumps(answer.document)
            words = f"2026-11-28T00:00:00.000Z [ERROR] Error in API request: {document}"
            print(words, file=sys.stderr, flush=True)
        self.finish(
            is_error=True,
            result="API Error: Prompt is too long",
            terminal_reason="api_error",
            api_error_status=answer.status,
            api_error_type=answer.document["error"]["type"],
        )

    def finish(self, **fields: Any) -> None:
        about = {"type": "result", "subtype": "success", "num_turns": 1, "result": ""}
        cost = {} if self.lacks("cost") else {"total_cost_usd": 0.0}
        say({**about, "is_error": False, **cost, **fields})


class Answer:
    """Sends a request to the API, and passes on the events of its answer.

    Attributes:
        status: the HTTP status.
        document: the document of an error.
        reason: the stop reason.
        has_block: whether the answer has a block.
    """

    def __init__(self, cli: CLI, body: dict[str, Any], *, is_told: bool = True) -> None:
        self.reason = ""
        self.has_block = False
        self.document: dict[str, Any] = {}
        self._cli = cli
        self._is_told = is_told
        self._connection = connected(body, cli)
        head, rest = self._head()
        self.status = int(head.split()[1])
        if self.status != 200:
            self.document = json.loads(rest + self._rest())
        else:
            self._stream(rest)
        self._connection.close()

    def _head(self) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._connection.recv(2**16)
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _rest(self) -> bytes:
        return b"".join(iter(lambda: self._connection.recv(2**16), b""))

    def _stream(self, data: bytes) -> None:
        is_open = True
        while not self._cli.is_interrupted:
            *events, data = data.split(b"\n\n")
            for event in events:
                self._tell(json.loads(event.partition(b"data: ")[2]))
            if not is_open:
                return
            inputs: list[Any] = [0, self._connection]
            ready, _, _ = select.select(inputs, [], [])
            if 0 in ready:
                self._cli.receive()
            if self._connection in ready:
                piece = self._connection.recv(2**16)
                data, is_open = data + piece, bool(piece)

    def _tell(self, event: dict[str, Any]) -> None:
        self.has_block |= event["type"] == "content_block_start"
        if event["type"] == "message_delta":
            self.reason = event["delta"]["stop_reason"]
        if self._cli.lacks("usage"):
            event.pop("usage", None)
            event.get("message", {}).pop("usage", None)
        if self._is_told:
            line = {"type": "stream_event", "event": event, "parent_tool_use_id": None}
            say(line)


def message(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line["message"][name] for name in ("role", "content")}


def connected(body: dict[str, Any], cli: CLI) -> socket.socket:
    """A connection to the API on which the request was sent."""
    base = os.environ["ANTHROPIC_BASE_URL"].removeprefix("http://")
    address, slash, path = base.partition("/")
    host, _, port = address.partition(":")
    connection = socket.create_connection((host, int(port)))
    content = json.dumps(body).encode()
    betas = "" if cli.lacks("betas") else os.environ.get("ANTHROPIC_BETAS", "")
    head = (
        f"POST {slash}{path}/v1/messages HTTP/1.0\r\n"
        f"user-agent: claude-cli/{cli.version} (external, cli)\r\n"
        f"anthropic-beta: {betas}\r\n"
        f"x-api-key: {os.environ['ANTHROPIC_API_KEY']}\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    connection.sendall(head.encode() + content)
    return connection


def retry() -> dict[str, Any]:
    return {
        "type": "system",
        "subtype": "api_retry",
        "attempt": 1,
        "retry_delay_ms": 1,
        "error_status": _OVERLOADED,
        "error": "overloaded",
    }


def say(record: dict[str, Any]) -> None:
    """Write a line to stdout."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def main() -> None:
    how = sys.argv[1]
    if "--version" in sys.argv:
        print("2.1.332 (Claude Code)")
    elif how == "no-flag" and _ERROR_LOG in sys.argv:
        print(f"error: unknown option '{_ERROR_LOG}'", file=sys.stderr)
        sys.exit(1)
    else:
        CLI(how).run()


if __name__ == "__main__":
    main()
