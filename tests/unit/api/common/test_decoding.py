"""JSON bodies decoded to structs, with clear errors."""

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ccproxy.api.common.decoding import MOST_VALUES, decode_json, read_body
from ccproxy.core.errors import (
    ClientError,
    InvalidRequest,
    MissingParameter,
    RequestTooLarge,
)


class Inner(msgspec.Struct):
    size: int


class Outer(msgspec.Struct):
    name: str
    items: list[Inner] = []
    table: dict[str, Inner] = {}
    anything: object = None


DECODER = msgspec.json.Decoder(Outer)


def refused(body: bytes) -> ClientError:
    with pytest.raises(ClientError) as caught:
        decode_json(DECODER, body)
    return caught.value


def test_a_body_of_the_right_shape() -> None:
    body = '{"name": "é\u2028", "items": [{"size": 1}], "unknown": 2}'.encode()
    assert decode_json(DECODER, body) == Outer(name="é\u2028", items=[Inner(size=1)])


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n"])
def test_no_body(body: bytes) -> None:
    error = refused(body)
    assert type(error) is InvalidRequest
    assert "no body" in error.message


@pytest.mark.parametrize(
    "body",
    [b"{", b"name=x", b'{"name": x}', b'{"name": "x"} {}', b'{"name": "x",}', b"\xff"],
)
def test_not_json(body: bytes) -> None:
    error = refused(body)
    assert type(error) is InvalidRequest
    assert "not JSON" in error.message
    assert error.param is None


def test_not_utf_8() -> None:
    error = refused(b'{"name": "\xff"}')
    assert type(error) is InvalidRequest
    assert "not UTF-8" in error.message


@pytest.mark.parametrize(
    ("half", "mended"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\uDE00", "\ufffd"),
        (r"\ud83d\ud83d", "\ufffd\ufffd"),
        (r"a\ud800b", "a\ufffdb"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\ud83d\ude00\ud83d", "😀\ufffd"),
        (r"\ud83d\u00e9", "\ufffdé"),
    ],
)
def test_half_a_surrogate_pair_is_mended(half: str, mended: str) -> None:
    body, paths = read_body(f'{{"items": [], "name": "{half}"}}'.encode())
    assert decode_json(DECODER, body).name == mended
    assert paths == ("name",)


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (rb'{"a": [{"b": "\ud83d"}, "\ude00"]}', ("a[0].b", "a[1]")),
        (rb'{"a": {"\ud83d": 1}}', ("a",)),
        (rb'{"\ud83d": 1}', ("body",)),
    ],
)
def test_texts_that_are_mended_are_named(body: bytes, paths: tuple[str, ...]) -> None:
    assert read_body(body)[1] == paths


@pytest.mark.parametrize(
    "body", [rb'{"a": "\ud83d\ude00"}', rb'{"a": "\\ud83d"}', b'{"a": "\\', b"{"]
)
def test_other_bodies_stay_as_they_are(body: bytes) -> None:
    assert read_body(body) == (body, ())


def test_a_byte_order_mark_is_taken_off() -> None:
    assert read_body(b"\xef\xbb\xbf{}") == (b"{}", ())


def test_what_nobody_decodes_has_to_be_utf_8_too() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        read_body(b'{"raw": "\xff"}')


HALVES = st.sampled_from(["\ud83d", "\ude00", "\\", "u", "d83d", '"', "é", "😀"])


@given(
    st.lists(HALVES | st.characters()).map(
        lambda found: json.dumps({"name": "".join(found)}).encode()
    )
)
def test_any_text_is_read_as_python_would_mend_it(body: bytes) -> None:
    mended, paths = read_body(body)
    text = json.loads(body)["name"]
    encoded = text.encode("utf-16-le", "surrogatepass")
    assert decode_json(DECODER, mended).name == encoded.decode("utf-16-le", "replace")
    assert paths == (("name",) if mended != body else ())


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert decode_json(DECODER, rb'{"name": "\ud83d\ude00"}').name == "😀"


@pytest.mark.parametrize("key", ["anything", "unknown"])
def test_too_deep(key: str) -> None:
    deep = "[" * 100_000 + "]" * 100_000
    error = refused(f'{{"name": "x", "{key}": {deep}}}'.encode())
    assert type(error) is InvalidRequest
    assert "nested too deeply" in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{}", "name"),
        (b'{"name": "x", "items": [{"size": 1}, {}]}', "items[1].size"),
    ],
)
def test_a_missing_field_is_named_with_its_path(body: bytes, param: str) -> None:
    error = refused(body)
    assert type(error) is MissingParameter
    assert error.param == param
    assert f"`{param}`" in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"name": 1}', "name"),
        (b'{"name": "x", "items": {}}', "items"),
        (b'{"name": "x", "items": [{"size": "1"}]}', "items[0].size"),
        (b'{"name": "x", "items": [null]}', "items[0]"),
    ],
)
def test_a_wrong_type_is_named_with_its_path(body: bytes, param: str) -> None:
    error = refused(body)
    assert type(error) is InvalidRequest
    assert error.param == param
    assert error.message.startswith(f"`{param}`: Expected")


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
def test_another_type_than_an_object_has_no_path(body: bytes) -> None:
    error = refused(body)
    assert type(error) is InvalidRequest
    assert error.param is None
    assert "object" in error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)
SHAPED = st.fixed_dictionaries(
    {}, optional={"name": JSON, "items": st.lists(JSON), "table": JSON}
)


@given(st.binary() | (JSON | SHAPED).map(lambda value: json.dumps(value).encode()))
@example(json.dumps({"name": "x", "table": {"` - at `$.x`": 1}}).encode())
@example(b'{"name": "\xed\xa0\x80"}')
def test_any_bytes_decode_or_are_a_client_error(body: bytes) -> None:
    found: Outer | ClientError
    try:
        found = decode_json(DECODER, body)
    except ClientError as error:
        found = error
    assert isinstance(found, Outer) or found.message


def test_values_have_a_limit() -> None:
    """To decode millions of them would keep everything else waiting."""
    for most in (b"[%b1]", b'{"a": [%b1]}'):
        with pytest.raises(RequestTooLarge, match="300,000 JSON values"):
            read_body(most % (b"1," * MOST_VALUES))
    text = b'["%b"]' % (b"1,[{" * MOST_VALUES)
    assert read_body(text) == (text, ())


def test_halves_of_pairs_in_a_long_text() -> None:
    long = rb"\ud83d" + rb"\n" * 5000
    body, paths = read_body(b'{"a": ["x", "%b", "%b"]}' % (long, long[7:]))
    assert json.loads(body)["a"][1].startswith("\ufffd\n")
    assert paths == ("a[1]",)
