"""Keys and sizes that the server accepts; others raise an error."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.core.errors import InvalidKey, RequestTooLarge, UnsupportedEncoding
from ccproxy.web.access import Authenticator

KEY = "sk-secret"
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


def authenticator(*keys: str, max_body: int = 100) -> Authenticator:
    return Authenticator(keys or (KEY,), max_body)


def refused(*headers: bytes, keys: tuple[str, ...] = (KEY,)) -> InvalidKey:
    with pytest.raises(InvalidKey) as caught:
        authenticator(*keys).check_key(headers)
    return caught.value


@given(KEYS, st.lists(KEYS), st.lists(KEYS))
def test_each_key_opens(key: str, before: list[str], after: list[str]) -> None:
    authenticator(*before, key, *after).check_key([b"Bearer " + key.encode()])


@pytest.mark.parametrize(
    "header", [b"bearer sk-secret", b"BEARER sk-secret", b" Bearer   sk-secret "]
)
def test_scheme_and_blanks_are_read_generously(header: bytes) -> None:
    authenticator().check_key([header])


@given(KEYS, st.binary())
@example("sk-secret", b"sk-secre")
@example("sk-secret", b"sk-secret2")
@example("sk-secret", b"SK-SECRET")
@example("sk-secret", b"")
@example("sk-secret", b"sk-secret, sk-secret")
@example("sk-secret", "sk-sécret".encode())
def test_no_other_key_opens(key: str, given_key: bytes) -> None:
    if given_key.decode("latin-1").strip() == key:
        return
    assert "wrong" in refused(b"Bearer " + given_key, keys=(key,)).message


@given(st.lists(st.binary(), max_size=3))
def test_any_headers_are_let_in_or_refused(headers: list[bytes]) -> None:
    refused(*headers)


def test_no_header_says_how_the_key_is_sent() -> None:
    error = refused()
    assert "Authorization: Bearer KEY" in error.message
    assert (error.status, error.code) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "header", [b"Basic sk-secret", b"sk-secret", b"", b"Bearersk-secret", b"Token x"]
)
def test_another_scheme_says_how_the_key_is_sent(header: bytes) -> None:
    assert "Authorization: Bearer KEY" in refused(header).message


def test_two_headers_are_refused() -> None:
    assert refused(b"Bearer sk-secret", b"Bearer sk-secret").status == 401


def test_keys_in_several_headers_of_a_name_are_refused() -> None:
    with pytest.raises(InvalidKey, match="one header `x-api-key"):
        authenticator().check_key([], [KEY.encode(), KEY.encode()])


def test_each_header_costs_one_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    digests: list[bytes] = []
    many = authenticator(*(f"sk-{number}" for number in range(1000)))

    def counted(key: bytes) -> bytes:
        digests.append(key)
        return b""

    monkeypatch.setattr("ccproxy.web.access._digest", counted)
    with pytest.raises(InvalidKey):
        many.check_key([b"Bearer wrong"], [b"wrong too"])
    assert digests == [b"wrong too", b"wrong"]


def test_a_refusal_tells_nothing_of_any_key() -> None:
    error = refused(b"Bearer sk-guess", keys=(KEY, "another-key"))
    for secret in (KEY, "another-key", "sk-guess"):
        assert secret not in error.message


def test_without_keys_of_ours_someone_else_has_checked() -> None:
    open_gate = Authenticator(None, 100)
    open_gate.check_key([])


def test_no_key_opens_a_gate_with_an_empty_list() -> None:
    with pytest.raises(InvalidKey):
        Authenticator((), 100).check_key([b"Bearer "])


@pytest.mark.parametrize("size_bytes", [0, 1, 100])
def test_bodies_up_to_the_limit_pass(size_bytes: int) -> None:
    authenticator().check_size(size_bytes)


@pytest.mark.parametrize("size_bytes", [101, 2**40])
def test_larger_bodies_are_refused(size_bytes: int) -> None:
    with pytest.raises(RequestTooLarge, match=r"100 bytes.*--max-body") as caught:
        authenticator().check_size(size_bytes)
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")


@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b"br", b"identity, gzip", b"x"])
def test_compressed_bodies_are_refused(encoding: bytes) -> None:
    with pytest.raises(UnsupportedEncoding, match="Content-Encoding") as caught:
        authenticator().check_encoding([encoding])
    assert caught.value.status == 415
    authenticator().check_encoding([])
    authenticator().check_encoding([b"identity", b""])
