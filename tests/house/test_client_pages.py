"""The pages of docs/clients are complete, and their configurations parse."""

import ast
import json
import re
import tomllib

import pytest

from tests.support.pages import PAGE_URL, PAGES, blocks

_NAMES = sorted(page.stem for page in PAGES.glob("*.md") if page.stem != "README")
_ROW = re.compile(r"^\| \[.+?\]\((.+?)\.md\) \|(.*)\|$", re.MULTILINE)
_MOST_LINES = 45


def test_every_page_is_in_the_table() -> None:
    rows = _ROW.findall((PAGES / "README.md").read_text())
    assert sorted(name for name, _ in rows) == _NAMES


@pytest.mark.parametrize("name", _NAMES)
def test_page_says_what_was_not_run(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    [row] = [r for n, r in _ROW.findall((PAGES / "README.md").read_text()) if n == name]
    assert ("not run here" in row) == ("\nNot run here" in text)
    assert ":8080/v1" in text or PAGE_URL in text
    assert len(text.splitlines()) <= _MOST_LINES


@pytest.mark.parametrize("name", _NAMES)
def test_configurations_can_be_read(name: str) -> None:
    for code in blocks(name, "json"):
        assert json.loads(code)
    for code in blocks(name, "toml"):
        assert tomllib.loads(code)
    for code in blocks(name, "python"):
        assert ast.parse(code)
