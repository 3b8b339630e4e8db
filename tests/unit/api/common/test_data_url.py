"""Data URLs and base64 in the forms that clients send."""

from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy.api.common.data_url import (
    DataURL,
    has_scheme,
    head,
    read_data_url,
    standard_base64,
)

DATA = bytes(range(256))
STANDARD = b64encode(DATA)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,{}",
        "DATA:IMAGE/PNG;BASE64,{}",
        " \ndata: image/png ; base64 ,{}\n",
        "data:image/png;name=a.png;base64,{}",
        'data:image/png;name="a, b; c.png";base64,{}',
        "data:image/png;charset=binary;base64,{}",
    ],
)
def test_parameters_case_and_white_space_do_not_matter(url: str) -> None:
    found = read_data_url(url.format(STANDARD.decode()))
    assert found is not None
    assert (found.media_type, found.data) == ("image/png", STANDARD)


def test_a_charset_is_told() -> None:
    url = "data:text/plain;charset=UTF-16;base64,YQ=="
    assert read_data_url(url) == DataURL("text/plain", "utf-16", b"YQ==")
    quoted = read_data_url('data:;charset="latin1";base64,YQ==')
    assert quoted == DataURL("", "latin1", b"YQ==")


def test_data_need_not_be_base64() -> None:
    url = f"data:text/plain,{quote(DATA)}"
    assert read_data_url(url) == DataURL("text/plain", "", STANDARD)


@pytest.mark.parametrize(
    "url", ["", "data:", "data:;base64", "https://a/b,c", "data:;base64,!", "a,b"]
)
def test_what_is_no_data_url(url: str) -> None:
    assert read_data_url(url) is None


@pytest.mark.parametrize("head", ["data:x;", "data:", "data:;;", " ", 'data:;"'])
def test_a_head_of_megabytes_is_not_read(head: str) -> None:
    # A regular expression for all of it took 10 s and a gigabyte for 6 MB.
    assert read_data_url(f"{head}{head[-1] * 9_000_000},YQ==") is None
    assert not has_scheme(" " * 9_000_000 + "a:")


@pytest.mark.parametrize("skipped", [0, 1, 2, 3])
def test_escapes_of_any_length_are_decoded(skipped: int) -> None:
    text = "a" * skipped + quote(DATA) * 300
    found = read_data_url(f"data:,{text}")
    assert found is not None
    assert found.data == b64encode(b"a" * skipped + DATA * 300)


@given(st.binary(max_size=40), st.integers(0, 9), st.sampled_from(["", " ", "\r\n"]))
def test_base64_in_any_form(data: bytes, place: int, blank: str) -> None:
    standard = b64encode(data)
    assert standard_base64(standard) is standard
    for made in (standard, urlsafe_b64encode(data), quote(standard, safe="").encode()):
        for text in (made, made.rstrip(b"=")):
            broken = text[:place] + blank.encode() + text[place:]
            is_split = blank and b"%" in broken[: place + 2]
            if not is_split:
                assert standard_base64(broken) == standard
    assert head(standard) == data[:48]


@pytest.mark.parametrize("text", ["!", "é", "YQ=Y", "Y", "YQ==Y", "Y\0Q="])
def test_what_is_no_base64(text: str) -> None:
    assert standard_base64(text.encode()) is None
