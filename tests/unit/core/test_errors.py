"""What an error quotes of a client's request has a limit."""

from ccproxy.core.errors import InvalidRequest, shortened


def test_message_and_param_have_a_limit() -> None:
    error = InvalidRequest(f"`{'a' * 9000}` is wrong", param="b" * 9000)
    assert len(error.message) <= 4000
    assert error.message.startswith("`aaa")
    assert error.message.endswith("aaa` is wrong")
    assert len(error.param or "") <= 1000
    assert str(error) == error.message


def test_a_short_text_is_not_changed() -> None:
    assert shortened("ab", 2) == "ab"
    assert shortened("abcd", 3) == "a…d"
