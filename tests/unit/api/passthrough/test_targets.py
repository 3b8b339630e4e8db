"""The servers of ``--passthrough``."""

import pytest

from ccproxy.api.passthrough.routes import NAMES
from ccproxy.api.passthrough.targets import Target, has_parent, targets_of
from ccproxy.config.parsers import passthrough
from ccproxy.config.settings import SettingsError

URL = "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    ("text", "name", "url"),
    [
        (f"/v1/embeddings={URL}/v1", "embeddings", f"{URL}/v1/embeddings"),
        (f"embeddings={URL}/v1/", "embeddings", f"{URL}/v1/embeddings"),
        (f"/embeddings={URL}/v1/embeddings", "embeddings", f"{URL}/v1/embeddings"),
        (f"/v1/audio/={URL}", "audio", f"{URL}/audio"),
        (f"images={URL}#KEY", "images", f"{URL}/images"),
    ],
)
def test_option(text: str, name: str, url: str) -> None:
    option = passthrough(text)
    assert (option.name, option.url) == (name, url)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/v1/embeddings", URL, "/v1/embeddings=127.0.0.1:1", "=http://a"),
        *("/v1/embeddings=ftp://a", "/v1/embeddings=http://a b", "/a/b=http://a"),
        "images=http://a?b=c",
    ],
)
def test_other_text_is_no_option(text: str) -> None:
    with pytest.raises(ValueError, match="PATH=URL"):
        passthrough(text)


def test_targets() -> None:
    texts = (f"embeddings={URL}/v1", f"audio={URL}#AUDIO_KEY")
    options = tuple(map(passthrough, texts))
    assert targets_of(options, {"AUDIO_KEY": "secret"}, NAMES) == {
        "embeddings": Target(url=f"{URL}/v1/embeddings".encode()),
        "audio": Target(url=f"{URL}/audio".encode(), key="secret"),
    }
    assert "secret" not in repr(targets_of(options, {"AUDIO_KEY": "secret"}, NAMES))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ((f"chat={URL}",), "no route /chat; there are /audio, /embeddings"),
        ((f"audio={URL}", f"/v1/audio={URL}"), "/audio is named twice"),
        ((f"audio={URL}#NO_KEY",), "NO_KEY, the variable with the key for /audio"),
        ((f"audio={URL}#BLANK",), "BLANK, the variable"),
    ],
)
def test_options_that_cannot_be_used(texts: tuple[str, ...], words: str) -> None:
    options = tuple(map(passthrough, texts))
    with pytest.raises(SettingsError, match=words):
        targets_of(options, {"BLANK": " "}, NAMES)


@pytest.mark.parametrize(
    "path", [b"", b"speech", b"a..b/...", b"..a", b"a/..-b", b"a%2fb", b"v1.0/.hidden"]
)
def test_other_paths_have_no_parent(path: bytes) -> None:
    assert not has_parent(path)
