"""A scripted CLI that merges a body into its requests, or fails to.

Arguments: how it merges, then whatever a real one is given. It asks the Messages API at
``ANTHROPIC_BASE_URL`` as the real one does, and speaks enough of its language to be
asked questions one after the other.

=============  ================================================================
merges         merges as the real CLI does
not            ignores the body
half           merges only fields that the CLI does not set itself
first-system   never replaces a system prompt
model          always uses the account's model
twice          sends each question twice
old            takes an empty system prompt, as CLIs do that are too old
helper         merges; its login needs a helper program
dies           ends at the first question
=============  ================================================================
"""

import json
import os
import sys
import urllib.request
from typing import Any

_OWN = {"model", "messages", "system", "tools", "max_tokens", "thinking", "stream"}


class CLI:
    """The state of the CLI."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.model = "sonnet"
        self.body = ""
        self.system = ""

    def run(self) -> None:
        for line in sys.stdin:
            told = json.loads(line)
            if told["type"] == "control_request":
                self.control(told["request_id"], told["request"])
            elif told["type"] == "user":
                self.ask(told["message"]["content"])

    def control(self, identifier: str, request: dict[str, Any]) -> None:
        answer: dict[str, Any] = {}
        error = ""
        match request["subtype"]:
            case "initialize":
                source = "apiKeyHelper" if self.how == "helper" else "none"
                answer = {"models": [], "account": {"tokenSource": source}}
            case "set_model":
                error = self.set_system(request["system_prompt"])
            case "apply_flag_settings":
                settings = request["settings"]
                self.model = settings.get("model", self.model)
                self.body = settings["env"].get("CLAUDE_CODE_EXTRA_BODY", self.body)
            case "rewind_conversation":
                answer = {"rewound": True, "precedingAssistantUuid": None}
            case _:
                error = "Unsupported control request subtype"
        response = {"request_id": identifier, "response": answer}
        if error:
            response |= {"subtype": "error", "error": error}
        else:
            response |= {"subtype": "success"}
        say({"type": "control_response", "response": response})

    def set_system(self, text: str) -> str:
        if not text:
            return "" if self.how == "old" else "it must not be empty"
        if not (self.system and self.how == "first-system"):
            self.system = text
        return ""

    def ask(self, content: Any) -> None:
        if self.how == "dies":
            sys.exit(1)
        identity = {"type": "text", "text": "You are a CLI."}
        prompt = {"type": "text", "text": self.system}
        request = {
            "model": "account" if self.how == "model" else self.model,
            "messages": [{"role": "user", "content": content}],
            "system": [identity, prompt] if self.system else [identity],
            "tools": [],
            "max_tokens": 128000,
            "thinking": {"type": "adaptive"},
            "stream": True,
        }
        body = {} if self.how == "not" else json.loads(self.body or "{}")
        if self.how == "half":
            body = {name: body[name] for name in body if name not in _OWN}
        events = post({**request, **body})
        if self.how == "twice":
            events = post({**request, **body})
        for event in events:
            say({"type": "stream_event", "event": event, "parent_tool_use_id": None})
        say(
            {
                "type": "result",
                "subtype": "success",
                "is_error": False,
                "num_turns": 1,
                "result": "",
                "total_cost_usd": 0.0,
                "stop_reason": "end_turn",
                "terminal_reason": "completed",
            }
        )


def post(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Send a request to the API; returns the events of its answer."""
    request = urllib.request.Request(
        os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages",
        data=json.dumps(body).encode(),
        headers={"x-api-key": os.environ["ANTHROPIC_API_KEY"]},
    )
    with urllib.request.urlopen(request) as answer:
        lines = answer.read().decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def say(record: dict[str, Any]) -> None:
    """Write a line to stdout."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if "--version" in sys.argv:
        print("2.1.332 (Claude Code)")
    else:
        CLI(sys.argv[1]).run()
