"""Reads tables and code blocks of README and docs."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ccproxy.core.errors import CCProxyError

ROOT = Path(__file__).parent.parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def rows(path: Path, name: str) -> Sequence[Sequence[str]]:
    """The rows of the table between ``<!-- name`` and ``<!-- /name``, but the head."""
    begun = path.read_text().partition(f"<!-- {name}")[2]
    lines = begun.partition(f"<!-- /{name}")[0].splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table, f"{path.name} has no table {name!r}"
    return [[c.strip() for c in line.strip("|").split("|")] for line in table[2:]]


def blocks(path: Path, language: str) -> Sequence[str]:
    """The code blocks of a language, in order."""
    return [
        code for found, code in _BLOCK.findall(path.read_text()) if found == language
    ]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's sections, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    bare = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {text.replace(" ", "-") for text in bare}


def all_errors() -> set[tuple[int, str]]:
    """Status and code of every error class."""
    return {(error.status, error.code) for error in all_kinds()}


def all_kinds() -> set[type[CCProxyError]]:
    """Every error class that a client may receive."""
    return set(_kinds(CCProxyError))


def _kinds(error: type[CCProxyError]) -> Iterator[type[CCProxyError]]:
    for kind in error.__subclasses__():
        # Those that tests make up are none of ours.
        if kind.__module__ == CCProxyError.__module__:
            yield kind
            yield from _kinds(kind)
