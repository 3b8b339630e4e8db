"""Reads the code blocks of the pages in docs/clients."""

import re
from collections.abc import Sequence
from pathlib import Path

PAGES = Path(__file__).parent.parent.parent / "docs" / "clients"
# What the pages call the server and its key.
PAGE_URL = "http://127.0.0.1:8080"
PAGE_KEY = "choose-a-secret"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> Sequence[str]:
    """The blocks of a language on a page, in order."""
    text = (PAGES / f"{page}.md").read_text()
    return [code for found, code in _BLOCK.findall(text) if found == language]
