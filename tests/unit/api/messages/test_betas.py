"""The betas of a client's header: those that the CLI asks for have effect."""

import pytest

from ccproxy.api.messages.request import decode_messages, with_betas
from tests.support.composed import body_of, composed

KNOWN = "context-management-2025-06-27"
BODY = b'{"messages": [{"role": "user", "content": "hi"}], "anthropic-beta": 5}'


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ([], []),
        ([""], []),
        ([KNOWN], []),
        ([f"{KNOWN}, made-up-2026-01-01", "other"], ["made-up-2026-01-01", "other"]),
    ],
)
def test_betas_that_the_cli_does_not_ask_for_are_named(
    headers: list[str], named: list[str]
) -> None:
    decoded = decode_messages(BODY)
    assert decoded.ignored == ("anthropic-beta",)
    found = composed(with_betas(decoded.request, headers))
    assert list(found.ignored) == [f"anthropic-beta: {name}" for name in named]
    assert set(body_of(found)) == {"messages"} | ({"thinking"} & set(body_of(found)))
