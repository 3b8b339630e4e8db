"""The file with the API key that a service reads."""

import secrets
from collections.abc import Sequence
from pathlib import Path

from ccproxy.cli.service.steps import MakePrivate, Step, WriteFile
from ccproxy.config.settings import SettingsError

_OTHERS = 0o077


def key_steps(path: Path, given: Sequence[str], *, is_forced: bool) -> Sequence[Step]:
    """The steps after which the file holds a key that only its owner can read.

    Args:
        path: the file; an existing file is kept, unless ``is_forced``.
        given: the operator's key; empty: a new file gets a random key.
        is_forced: whether the file may be replaced if it holds another key.

    Raises:
        SettingsError: the file holds another key, or cannot be read.
    """
    try:
        present = path.read_text().split()
        mode = path.stat().st_mode
    except FileNotFoundError:
        key, about = given[0] if given else _new_key(), "your API key"
        if not given:
            about = "a new API key"
        return (WriteFile(path, f"{key}\n", about, is_secret=True),)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the key in {path}: {error}") from None
    if given and given[0] not in present:
        if not is_forced:
            raise SettingsError(
                f"--api-key: {path} holds another key; add yours to that file, one "
                "key per line, or replace the file with --force"
            )
        return (WriteFile(path, f"{given[0]}\n", "your API key", is_secret=True),)
    return (MakePrivate(path),) if mode & _OTHERS else ()


def first_key(path: Path) -> str:
    """The first key in a file; empty: no key can be read."""
    try:
        return next(iter(path.read_text().split()), "")
    except (OSError, UnicodeDecodeError):
        return ""


def _new_key() -> str:
    return secrets.token_urlsafe()
