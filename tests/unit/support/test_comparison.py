"""The comparison finds what the API would notice, and ignores the CLI's own fields."""

from copy import deepcopy
from typing import Any

import pytest

from tests.support.comparison import differences, printed

CACHE = {"type": "ephemeral"}
CLI = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=1;"},
    {"type": "text", "text": "identity"},
]
SENT: dict[str, Any] = {
    "model": "sonnet",
    "max_tokens": 100,
    "system": "Be brief.",
    "messages": [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]},
        {"role": "user", "content": [{"type": "text", "text": "and?"}]},
    ],
    "tools": [{"name": "b", "input_schema": {}}, {"name": "a", "input_schema": {}}],
    "thinking": {"type": "adaptive"},
    "stop_sequences": ["x"],
}


def went_up(**changes: Any) -> dict[str, Any]:
    """What the CLI sends for it."""
    body = deepcopy(SENT)
    body["system"] = [*CLI, {"type": "text", "text": "Be brief."}]
    body |= {
        "model": "claude-sonnet-5-5",
        "metadata": {"user_id": "cli"},
        "stream": True,
        "output_config": {"effort": "medium"},
        "context_management": {"edits": []},
        **changes,
    }
    return body


def turned(number: int, content: Any) -> list[Any]:
    turns: list[Any] = deepcopy(SENT["messages"])
    turns[number]["content"] = content
    return turns


def text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def test_the_clis_own_is_no_difference() -> None:
    assert differences(SENT, went_up()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": turned(2, [text("and?", cache_control=CACHE)])},
        {"messages": turned(0, [text("hello", cache_control=CACHE)])},
        {"thinking": {"type": "adaptive", "display": "summarized"}},
        {"max_tokens": 100.0},
    ],
)
def test_what_may_be_added(changes: dict[str, Any]) -> None:
    assert differences(SENT, went_up(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"max_tokens": 99}, "max_tokens: sent 100, upstream 99"),
        ({"stop_sequences": []}, "stop_sequences: sent 1 items, upstream 0"),
        ({"tools": SENT["tools"][::-1]}, 'tools.0.name: sent "b", upstream "a"'),
        ({"system": CLI}, 'system: sent ["Be brief."], upstream []'),
        ({"system": "Be brief."}, "system: the CLI's own two blocks are not there"),
        ({"messages": SENT["messages"][1:]}, "messages: sent 3 items, upstream 2"),
        ({"messages": turned(0, "hullo")}, 'messages.0.content: sent "hello", upst'),
        (
            {"messages": turned(1, [text("Hi.", citations=[])])},
            "messages.1.content.0.ci",
        ),
        ({"thinking": {"type": "disabled"}}, "thinking.type"),
        ({"temperature": 1}, "temperature: not sent, upstream 1"),
        (
            {"output_config": {"format": {}}},
            "output_config.format: sent null, upstream",
        ),
        ({"cache_control": CACHE}, "cache_control: sent None"),
        (
            {
                "messages": [
                    {**m, "content": [text("hello", cache_control=CACHE)]}
                    for m in SENT["messages"]
                ]
            },
            "cache_control: 3 breakpoints added",
        ),
    ],
)
def test_what_is_not_the_same(changes: dict[str, Any], found: str) -> None:
    lines = differences(SENT, went_up(**changes))
    assert [line for line in lines if line.startswith(found)], lines


def test_what_the_client_sent_has_to_arrive() -> None:
    more = {
        **SENT,
        "model": "claude-opus-5",
        "tool_choice": {"type": "auto"},
        "output_config": {"effort": "low"},
        "cache_control": CACHE,
    }
    assert differences(more, went_up()) == [
        "model: sent 'claude-opus-5', upstream 'claude-sonnet-5-5'",
        'output_config.effort: sent "low", upstream "medium"',
        f"cache_control: sent {CACHE}, upstream None",
        'tool_choice: sent {"type": "auto"}, not upstream',
    ]


def test_a_breakpoint_of_the_clients_stays() -> None:
    sent = {**SENT, "messages": turned(1, [text("Hi.", cache_control=CACHE)])}
    assert differences(sent, went_up(messages=sent["messages"])) == []
    (lost,) = differences(sent, went_up())
    assert lost.startswith("messages.1.content.0.cache_control: sent")
    told = {**CACHE, "ttl": "5m"}
    same = turned(1, [text("Hi.", cache_control=told)])
    assert differences(sent, went_up(messages=same)) == []


def test_an_automatic_breakpoint_may_be_set_where_the_api_sets_it() -> None:
    sent = {**SENT, "cache_control": CACHE}
    last = turned(2, [text("and?", cache_control=CACHE)])
    assert differences(sent, went_up(messages=last)) == []


def test_an_argument_called_cache_control_is_none() -> None:
    def called(value: object) -> list[Any]:
        call = {"type": "tool_use", "id": "a", "name": "b", "input": value}
        return turned(1, [call])

    sent = {**SENT, "messages": called({"cache_control": 1})}
    told = went_up(messages=called({"cache_control": 2}))
    assert differences(sent, told) == [
        "messages.1.content.0.input.cache_control: sent 1, upstream 2"
    ]


@pytest.mark.parametrize("joint", ["", "\n", "\n\n"])
def test_system_blocks_are_joined(joint: str) -> None:
    billing = text("x-anthropic-billing-header: cc_version=1;")
    sent = {**SENT, "system": [billing, text("a"), text(" "), text("b")]}
    system = [*CLI, text(f"a{joint}b", cache_control=CACHE)]
    assert differences(sent, went_up(system=system)) == []


def test_no_system_prompt() -> None:
    sent = {key: value for key, value in SENT.items() if key != "system"}
    assert differences(sent, went_up(system=CLI)) == []
    assert differences(sent, went_up()) != []


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (2**53 + 1, 2**53),
        (10**400, None),
        (1e308 * 10, None),
        (1.0, 1),
        (-0.0, 0),
        (0.1, 0.1),
        (True, True),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
        ({"a": [1.0, {"b": -0.0}]}, {"a": [1, {"b": 0}]}),
    ],
)
def test_values_as_the_cli_prints_them(value: object, told: object) -> None:
    assert printed(value) == told
    assert repr(printed(value)) == repr(told)


def test_turns_may_be_cut_into_messages_in_any_way() -> None:
    parts = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [text("b"), text("c")]},
    ]
    whole = {"role": "user", "content": [text("a"), text("b"), text("c")]}
    sent = {**SENT, "messages": parts}
    told = went_up(messages=[whole])
    assert differences(sent, told, joined=True) == []
    assert differences(sent, told) != []
    other = went_up(messages=[{**whole, "content": [text("a"), text("bc")]}])
    assert differences(sent, other, joined=True) != []
