"""Encrypted thinking and summaries: given to the client, and taken back."""

import json

import pytest

from ccproxy.api.responses.encryption import Encryptor, new_key
from ccproxy.api.responses.lifecycle.stored import (
    kept_response,
    shown_response,
)
from ccproxy.core.stream import (
    Event,
    Finished,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from tests.support.events import redacted_start
from tests.unit.api.responses.samples import (
    FINISHED,
    ITEM,
    SEAL,
    START,
    USAGE,
    asked,
    assembled,
    parse,
    plain,
    request,
    sealed,
    text_of,
    whole,
)

THOUGHTS: tuple[Event, ...] = (
    START,
    ThinkingDelta("h"),
    ThinkingDelta("m"),
    SignatureDelta("one"),
    ThinkingDelta("well"),
    SignatureDelta("two"),
    redacted_start("dark"),
    SignatureDelta("three"),
    TextDelta("yes"),
    FINISHED,
)


def test_each_block_of_thinking_is_an_item_with_its_seal() -> None:
    encoder = sealed(include=["reasoning.encrypted_content"])
    *items, message = parse(whole(encoder, *THOUGHTS))[-1]["response"]["output"]
    assert message["type"] == "message"
    assert [[part["text"] for part in item["summary"]] for item in items] == [
        ["hm"],
        ["well"],
        [],
        [],
    ]
    assert [SEAL.decrypt(item["encrypted_content"]) for item in items] == [
        {"thinking": "hm", "signature": "one", "model": "claude-test-1"},
        {"thinking": "well", "signature": "two", "model": "claude-test-1"},
        {"data": "dark", "model": "claude-test-1"},
        {"thinking": "", "signature": "three", "model": "claude-test-1"},
    ]


def test_seals_are_shown_to_who_asks_and_kept_for_all() -> None:
    encoder = sealed()
    data = whole(encoder, *THOUGHTS)
    assert all(b"encrypted_content" not in event.data for event in data)
    kept = [item for item in encoder.output if "encrypted_content" in item]
    assert len(kept) == 4
    document = kept_response(encoder.response, encoder.output)
    shown = shown_response(document, "completed", shows_encrypted=False)
    assert json.loads(shown) == parse(data)[-1]["response"]
    all_shown = json.loads(shown_response(document, "completed", shows_encrypted=True))
    assert all_shown["output"] == list(encoder.output)


def test_thinking_comes_back_as_it_was() -> None:
    encoder = sealed()
    whole(encoder, *THOUGHTS)
    items = [ITEM, *encoder.output, ITEM]
    question = asked(request(input=items))
    _, (_, blocks), _ = plain(question.messages)
    assert blocks == [
        {"type": "thinking", "thinking": "hm", "signature": "one"},
        {"type": "thinking", "thinking": "well", "signature": "two"},
        {"type": "redacted_thinking", "data": "dark"},
        {"type": "thinking", "thinking": "", "signature": "three"},
        text_of("yes"),
    ]
    keys = ("one", "two", "dark", "three")
    assert question.thinking_models == dict.fromkeys(keys, "claude-test-1")


def test_thinking_comes_back_with_what_stood_before_it() -> None:
    encoder = sealed("p1")
    whole(encoder, *THOUGHTS)
    question = asked(request(input=[ITEM, *encoder.output, ITEM]))
    keys = ("one", "two", "dark", "three")
    assert question.thinking_prefixes == dict.fromkeys(keys, "p1")


def test_seals_of_before_say_nothing_of_what_stood_before() -> None:
    sealed = {"thinking": "hm", "signature": "one", "model": "claude-test-1"}
    about = {"id": "rs_1", "summary": [], "encrypted_content": SEAL.encrypt(sealed)}
    answer = {"role": "assistant", "content": "earlier"}
    items = [ITEM, {"type": "reasoning", **about}, answer, ITEM]
    question = asked(request(input=items))
    assert question.thinking_models == {"one": "claude-test-1"}
    assert question.thinking_prefixes == {}


def test_thinking_that_nothing_came_of_is_left_out() -> None:
    encoder = sealed()
    whole(encoder, START, SignatureDelta("one"), Finished("max_tokens", USAGE))
    told = assembled(request(input=[ITEM, *encoder.output, ITEM]))
    assert plain(told.request.messages) == [("user", "x"), ("user", "x")]
    assert told.ignored == ("input[1]",)


def not_ours(change: str) -> str:
    """What is sealed, and cannot be opened here."""
    good = SEAL.encrypt({"summary": "s"})
    flipped = good[:20] + ("A" if good[20] != "A" else "B") + good[21:]
    return {
        "foreign": Encryptor(new_key()).encrypt({"summary": "s"}),
        "cut": good[:-8],
        "flipped": flipped,
        "not ASCII": good + "é",
    }[change]


@pytest.mark.parametrize("change", ["foreign", "cut", "flipped", "not ASCII"])
def test_summary_that_cannot_be_opened_is_left_out_and_named(change: str) -> None:
    """A conversation may have been begun with another provider."""
    item = {"type": "compaction", "encrypted_content": not_ours(change)}
    told = assembled(request(input=[item, ITEM]))
    assert plain(told.request.messages) == [("user", "x")]
    assert told.ignored == ("input[0]",)


def test_sealed_thinking_is_no_summary_and_a_summary_no_thinking() -> None:
    thinking = SEAL.encrypt({"thinking": "hm", "signature": "one"})
    summary = SEAL.encrypt({"summary": "S."})
    items = [
        ITEM,
        {"type": "compaction", "encrypted_content": thinking},
        {"type": "reasoning", "summary": [], "encrypted_content": summary},
        {"role": "assistant", "content": "b"},
        ITEM,
    ]
    told = assembled(request(input=items))
    assert [role for role, _ in plain(told.request.messages)] == [
        *("user", "assistant", "user"),
    ]
    assert told.ignored == ("input[1]", "input[2]")


@pytest.mark.parametrize("change", ["foreign", "cut", "flipped", "not ASCII"])
def test_thinking_that_cannot_be_opened_is_left_out_and_named(change: str) -> None:
    """A conversation may have been begun with another provider."""
    about = {"id": "rs_1", "summary": [], "encrypted_content": not_ours(change)}
    answer = {"role": "assistant", "content": "earlier"}
    items = [ITEM, {"type": "reasoning", **about}, answer, ITEM]
    told = assembled(request(input=items))
    assert plain(told.request.messages) == [
        ("user", "x"),
        ("assistant", "earlier"),
        ("user", "x"),
    ]
    assert told.ignored == ("input[1]",)
