"""System messages among the turns."""

from typing import Any

import pytest

from ccproxy.claude.body.compose import Composition
from ccproxy.claude.body.reading import distinct_system_prompt
from tests.support.composed import (
    HAIKU_4_5,
    OPUS,
    assistant,
    body_of,
    call,
    composed,
    raw_message,
    request,
    result,
    system,
    text,
    tool,
    user,
)

U, A, S = user("u"), assistant("a"), system("s")


def _roles(composition: Composition) -> str:
    return "".join(m["role"][0] for m in body_of(composition)["messages"])


@pytest.mark.parametrize(
    ("messages", "roles", "adjusted"),
    [
        ([U, S], "us", ()),
        ([U, S, A, U], "usau", ()),
        ([U, A, U, S, A, U, S], "uausaus", ()),
        # Only behind all turns of the user.
        ([U, S, U], "uus", ("messages[1]",)),
        ([U, A, S, U], "uaus", ("messages[2]",)),
        # One for each place.
        ([U, S, S, A, U], "usau", ("messages[2]",)),
        ([U, S, U, S], "uus", ("messages[1]", "messages[3]")),
        # Nothing of the user's is beside it.
        ([U, A, S], "uau", ("messages[2].role",)),
        ([U, A, S, A, U], "uauau", ("messages[2].role",)),
    ],
)
def test_system_messages_are_placed_for_models_that_take_them(
    messages: list[Any], roles: str, adjusted: tuple[str, ...]
) -> None:
    composition = composed(request(messages))
    assert _roles(composition) == roles
    assert composition.adjusted == adjusted


@pytest.mark.parametrize(
    ("messages", "roles"),
    [([U, S], "uu"), ([U, S, A, U], "uuau"), ([U, S, U], "uuu"), ([U, A, S], "uau")],
)
@pytest.mark.parametrize("options", [{}, {"system_messages": False}])
def test_system_messages_become_the_users_for_other_models_and_hosts(
    messages: list[Any], roles: str, options: dict[str, Any]
) -> None:
    model_id = OPUS if options else HAIKU_4_5
    asked = request(messages, thinking={"type": "adaptive"})
    composition = composed(asked, model_id, **options)
    assert _roles(composition) == roles
    place = messages.index(S)
    assert f"messages[{place}].role" in composition.adjusted


def test_leading_system_messages_are_the_system_prompt() -> None:
    composition = composed(request([S, system("t"), U], system="first"))
    assert composition.body.system == "first\n\ns\n\nt"
    assert _roles(composition) == "u"
    assert composition.adjusted == ("messages[0]", "messages[1]")


def test_the_system_prompt_is_not_in_the_body() -> None:
    composition = composed(request([U], system="be brief"))
    assert composition.body.system == "be brief"
    assert "system" not in body_of(composition)
    assert composition.adjusted == composition.ignored == ()


@pytest.mark.parametrize(
    ("before", "after"), [("", ""), ("a\n", "\nb"), ("a\n \ufeff\t", "\xa0\r\n\nb")]
)
def test_a_line_that_the_cli_would_leave_out(before: str, after: str) -> None:
    mark = "__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__"
    told = distinct_system_prompt(f"{before}{mark}{after}")
    assert told == f"{before}`{mark}`{after}"


def test_every_line_that_the_cli_would_leave_out() -> None:
    mark = "__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__"
    told = distinct_system_prompt(f"{mark}\na {mark}\n{mark}{mark}\n\n {mark}\n{mark}")
    assert told == f"`{mark}`\na {mark}\n{mark}{mark}\n\n `{mark}`\n`{mark}`"


def test_a_system_prompt_does_not_replace_the_clis_own_texts() -> None:
    text = "x-anthropic-billing-header: mine"
    composition = composed(request([U], system=text))
    assert composition.body.system == f"\n{text}"
    assert composition.adjusted == ("system",)


@pytest.mark.parametrize(
    "system",
    [
        "x-anthropic-billing-header: mine\nBe brief.",
        "You are Claude Code, Anthropic's official CLI for Claude.",
        "You are Claude Code, Anthropic's official CLI for Claude, running within X.",
        "You are a Claude agent, built on Anthropic's Claude Agent SDK.",
    ],
)
def test_a_system_prompt_that_the_cli_takes_for_its_own(system: str) -> None:
    told = distinct_system_prompt(system)
    assert told == f"\n{system}"
    assert distinct_system_prompt(told) == told


@pytest.mark.parametrize(
    "system",
    [
        "",
        "Be brief.",
        "x-anthropic-billing-header",
        "You are Claude Code, Anthropic's official CLI for Claude.\n\nBe brief.",
        "a __SYSTEM_PROMPT_DYNAMIC_BOUNDARY__\nb",
        "`__SYSTEM_PROMPT_DYNAMIC_BOUNDARY__`",
    ],
)
def test_other_system_prompts_are_sent_unchanged(system: str) -> None:
    assert distinct_system_prompt(system) == system


@pytest.mark.parametrize("prompt", ["", " \n"])
def test_a_blank_system_prompt_is_left_out(prompt: str) -> None:
    assert composed(request([U], system=prompt)).body.system == ""


def test_a_system_message_between_call_and_result_is_moved() -> None:
    told = [U, assistant(call("a")), S, user(result("a"))]
    composition = composed(request(told, tools=[tool()]))
    assert _roles(composition) == "uaus"
    assert composition.adjusted == ("messages[3].content[0]",)


def test_a_system_message_after_a_server_tool_is_kept() -> None:
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    composition = composed(request([U, assistant(search), S]))
    assert _roles(composition) == "uas"
    assert composition.adjusted == ()


def test_a_system_message_with_an_image_becomes_the_users() -> None:
    picture = {"type": "image", "source": {"type": "url", "url": "https://x.y/z"}}
    asked = request([U, A, U])
    odd = raw_message("system", [text("see"), picture], "messages[3]")
    composition = composed(type(asked)(messages=(*asked.messages, odd)))
    assert _roles(composition) == "uauu"
    assert composition.adjusted == ("messages[3].role",)
