"""The check of bodies finds details of the machine and of other questions."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.first_party import unexpected_keys, write_wrapper

TURN = "cc_turn_origin=sdk; cc_prompt_index=0; cc_turn_index=1;"
BILLING = (
    "x-anthropic-billing-header: cc_version=2.1.332.9a2; cc_entrypoint=sdk-cli; "
    f"cch=c2e82; cc_prompt_id=957864f5-987f-4214-89c6-8e248c76d1a5; {TURN}"
)
USER = {"device_id": "d", "account_uuid": "", "session_id": "s"}


def body(billing: str = BILLING, **fields: Any) -> dict[str, Any]:
    return {
        "model": "claude-sonnet-5-5",
        "max_tokens": 9,
        "messages": [],
        "system": [{"type": "text", "text": billing}],
        "metadata": {"user_id": json.dumps(USER)},
        "diagnostics": {"previous_message_id": None},
        "stream": True,
        **fields,
    }


def test_a_first_turn_says_nothing_of_others() -> None:
    assert unexpected_keys(body()) == []
    assert unexpected_keys(body(stop_sequences=["x"])) == []
    loopback = "x-anthropic-billing-header: cc_version=2.1.332.9a2; cc_entrypoint=sdk-"
    assert unexpected_keys(body(f"{loopback}cli;")) == []


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (body(thread={"type": "create"}), ["thread"]),
        (body(stop_sequences=["x"]), []),
        (body(diagnostics={"previous_message_id": "msg_1"}), ["diagnostics"]),
        (body(BILLING.replace("index=0", "index=1")), ["system.0.cc_prompt_index"]),
        (body(f"{BILLING} cc_prev_req=req_1;"), ["system.0.cc_prev_req"]),
        (body("You are helpful."), ["system.0"]),
        (body(system=[]), ["system.0"]),
        (body(system="You are helpful."), ["system.0"]),
        (body(metadata={"user_id": '{"x": 1}'}), ["metadata.user_id.x"]),
        (body(metadata={"user_id": "{}", "tags": []}), ["metadata"]),
    ],
)
def test_what_should_not_be_said(said: dict[str, Any], found: list[str]) -> None:
    assert unexpected_keys(said) == found


def test_what_a_client_may_not_have_sent() -> None:
    assert unexpected_keys(body(top_k=1), allowed=()) == ["top_k"]


def test_the_wrapper_sets_its_variables(tmp_path: Path) -> None:
    program = tmp_path / "real"
    program.write_text('#!/bin/sh\necho "$WHO" "$@"\n')
    program.chmod(0o755)
    wrapper = write_wrapper(tmp_path / "claude", program, {"WHO": "it's me"})
    done = subprocess.run([wrapper, "a b"], capture_output=True, text=True, check=True)
    assert done.stdout == "it's me a b\n"
