"""The script of ``--demo``: every answer quotes the user's last message."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ccproxy.server.scripted_reply import Reply, ScriptedBlock, words

_WORDS_OF_PROMPT = 12
_DEMO_DELAY_SECONDS = 0.03


def demo_script(body: Mapping[str, Any]) -> Reply:
    """The answer of ``--demo`` to one request."""
    turns = [m for m in body["messages"] if m["role"] == "user"]
    asked = _text(turns[-1]["content"]).split()
    quote = " ".join(asked[:_WORDS_OF_PROMPT])
    if len(asked) > _WORDS_OF_PROMPT:
        quote += " …"
    answer = (
        "Hello! This is the ccproxy demo: a script answers, not a model. But your "
        "request went the whole way, through the proxy and the real Claude Code CLI, "
        f"and so does this answer, token by token. You asked {body['model']}, in turn "
        f"{len(turns)} of this conversation: “{quote}” Without --demo, with a "
        "logged-in `claude`, the model itself answers."
    )
    text, stop = _until(answer, body.get("stop_sequences") or ())
    pieces = words(text).deltas
    sent = pieces[: body.get("max_tokens")]
    is_cut = len(sent) < len(pieces)
    reason = "end_turn" if stop is None else "stop_sequence"
    return Reply(
        blocks=(ScriptedBlock(sent),),
        stop_reason="max_tokens" if is_cut else reason,
        stop_sequence=None if is_cut else stop,
        output_tokens=len(sent),
        usage={"input_tokens": len(json.dumps(turns)) // 4 + 1},
        delay_seconds=_DEMO_DELAY_SECONDS,
    )


def _until(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    """The text up to the first stop sequence, and that sequence."""
    found = [(text.index(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    place, stop = min(found)
    return text[:place], stop


def _text(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(block.get("text", "") for block in content)
