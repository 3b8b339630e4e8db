"""Imagined processes with CLIs of native mode: each step happens on command.

What a real one would do by itself, in its own time, is done here when the test says so:
take the next line of its input, say a word, end its answer, die. It keeps the
conversation as the real one does, so that a test can tell whether it was asked what
its client has asked.

Source: docs/claude-cli-protocol.md, "Input" and "History".
"""

from typing import Any

from attrs import define, field
from typing_extensions import override

from tests.support.imagined_process import ImaginedProcess, stream_event

# One turn as a test compares it: who, and what of each block.
Said = tuple[str, tuple[tuple[str, str], ...]]


def blocks_of(content: Any) -> tuple[tuple[str, str], ...]:
    """The compared part of a block."""
    if isinstance(content, str):
        return (("text", content),)
    kinds = {"text": "text", "tool_use": "id", "tool_result": "tool_use_id"}
    return tuple((block["type"], block[kinds[block["type"]]]) for block in content)


@define(eq=False)
class ImaginedCLI(ImaginedProcess):
    """The transport of a process, and the CLI in it."""

    # The conversation, with the ids of the user's turns.
    conversation: list[tuple[str, Said]] = field(factory=list)
    question: list[Said] | None = None
    call: str | None = None
    tools: list[str] = field(factory=list)
    has_used_own: bool = False
    _identifier: str = ""

    # What the CLI does.

    @property
    def is_free(self) -> bool:
        """Whether the CLI could write: it was asked, and waits for nothing."""
        return self.question is not None and self.call is None

    def step(self) -> None:
        """Read one line of stdin."""
        message = self.inbox.popleft()
        match message["type"]:
            case "control_request":
                self._control(message["request_id"], message["request"])
            case "control_response":
                self._answered(message["response"])
            case "assistant":
                said = ("assistant", blocks_of(message["message"]["content"]))
                self.conversation.append(("", said))
            case "user":
                said = ("user", blocks_of(message["message"]["content"]))
                self.conversation.append((message["uuid"], said))
                if message.get("shouldQuery") is False:
                    self.write_out(_result(turns=0))
                else:
                    self._begin()

    def finish(self) -> None:
        """End the answer."""
        if "StructuredOutput" in self.tools:
            self._answer_by_schema()
        text = self._close("end_turn", ())
        self.question = None
        self.write_out({**_result(turns=1), "result": text})

    def _answer_by_schema(self) -> None:
        """Repeat the text as the input of the CLI's tool for structured output."""
        about = {"id": "toolu_s", "name": "StructuredOutput", "input": {}}
        use = {"type": "tool_use", **about}
        json = "".join(self.said)
        delta = {"type": "input_json_delta", "partial_json": json}
        self.write_out(
            *self._opening(),
            stream_event("content_block_stop", index=0),
            stream_event(
                "content_block_start", index=1, content_block={**use, "input": {}}
            ),
            stream_event("content_block_delta", index=1, delta=delta),
        )

    def make_call(self) -> None:
        """End the answer with a call."""
        self.call = f"toolu_{self.pid}x{next(self._numbers)}"
        block = {"type": "tool_use", "id": self.call, "name": "look", "input": {}}
        self.write_out(
            stream_event("content_block_stop", index=0),
            stream_event("content_block_start", index=1, content_block=block),
        )
        self._close("tool_use", (("tool_use", self.call),))
        meta = {"claudecode/toolUseId": self.call}
        params = {"name": "look", "arguments": {}, "_meta": meta}
        message = {"method": "tools/call", "id": 1, "params": params}
        about = {"subtype": "mcp_message", "server_name": "client", "message": message}
        self.write_out(
            {"type": "control_request", "request_id": self.call, "request": about}
        )

    def use_own(self) -> None:
        """End the message with a call of a tool of the CLI's, and run the tool."""
        identifier = f"own_{self.pid}x{next(self._numbers)}"
        block = {"type": "tool_use", "id": identifier, "name": "Read", "input": {}}
        self.write_out(
            *self._opening(),
            stream_event("content_block_stop", index=0),
            stream_event("content_block_start", index=1, content_block=block),
        )
        self._close("tool_use", (("tool_use", identifier),))
        result = {"type": "tool_result", "tool_use_id": identifier, "content": ""}
        self.write_out(
            {"type": "user", "message": {"role": "user", "content": [result]}}
        )
        self._has_begun = False
        self.has_used_own = True

    def _begin(self) -> None:
        self.question = [said for _, said in self.conversation]
        self.said, self._has_begun = [], False
        self.write_out({"type": "system", "subtype": "init", "tools": self.tools})

    @override
    def _opening(self) -> list[dict[str, Any]]:
        if self._has_begun:
            return []
        self._has_begun = True
        self._identifier = f"msg_{self.pid}x{next(self._numbers)}"
        message = {"id": self._identifier, "model": "m", "content": []}
        block = {"type": "text", "text": ""}
        return [
            stream_event("message_start", message=message),
            stream_event("content_block_start", index=0, content_block=block),
        ]

    def _close(self, reason: str, more: tuple[tuple[str, str], ...]) -> str:
        text = "".join(self.said)
        self.conversation.append(("", ("assistant", (("text", text), *more))))
        blocks = [{"type": "text", "text": text}]
        message = {"id": self._identifier, "model": "m", "content": blocks}
        whole = {"type": "assistant", "message": message, "parent_tool_use_id": None}
        end = stream_event("message_delta", delta={"stop_reason": reason})
        self.write_out(
            whole,
            stream_event("content_block_stop", index=0),
            end,
            stream_event("message_stop"),
        )
        return text

    def _control(self, identifier: str, request: dict[str, Any]) -> None:
        answer: object = None
        kind = "success"
        match request["subtype"]:
            case "set_model" if not request["system_prompt"]:
                kind = "error"
            case "initialize":
                answer = {"models": [], "claude_code_version": "2.1.330"}
                for manifest in request.get("sdkMcpServerManifests", {}).values():
                    self._offered(manifest["toolsListResult"])
                if "jsonSchema" in request:
                    self.tools.append("StructuredOutput")
        about = {"subtype": kind, "request_id": identifier, "response": answer}
        self.write_out({"type": "control_response", "response": about})

    def _answered(self, response: dict[str, Any]) -> None:
        if response["subtype"] != "success":
            return
        if response["request_id"] == self.call:
            said = ("user", (("tool_result", str(self.call)),))
            self.conversation.append(("", said))
            self.call = None
            self._begin()

    def _offered(self, listed: dict[str, Any]) -> None:
        self.tools = [tool["name"] for tool in listed["tools"]]


def _result(*, turns: int, subtype: str = "success") -> dict[str, Any]:
    about = {"is_error": subtype != "success", "num_turns": turns}
    return {"type": "result", "subtype": subtype, **about}
