"""The README is short, and leads to every page."""

import ast
import json

import pytest

from tests.support.docs import DOCS, README, ROOT, blocks

_MOST_LINES = 150


def test_it_stays_short() -> None:
    assert len(README.read_text().splitlines()) <= _MOST_LINES


def test_it_leads_to_every_page() -> None:
    """The pages of docs/clients are in a table of their own, by another test."""
    text = README.read_text()
    pages = [*DOCS.glob("*.md"), DOCS / "clients" / "README.md"]
    links = {f"]({page.relative_to(ROOT)})" for page in pages}
    assert sorted(link for link in links if link not in text) == []


def test_openclaw_is_set_up_as_on_its_page() -> None:
    [block] = blocks(README, "json")
    [whole] = blocks(DOCS / "clients" / "openclaw.md", "json")
    assert json.loads(block)["models"] == json.loads(whole)["models"]


def test_the_program_and_the_command_use_one_key() -> None:
    [program] = blocks(README, "python")
    assert ast.parse(program)
    commands = "".join(blocks(README, "sh"))
    [block] = blocks(README, "json")
    for text in (program, commands, block):
        assert "choose-a-secret" in text


@pytest.mark.parametrize("page", ["README.md", "docs/security.md"])
def test_reader_learns_how_the_cli_is_driven(page: str) -> None:
    """Everyone can decide: which variable, what is never touched, whose terms."""
    paragraph = next(
        part
        for part in (ROOT / page).read_text().split("\n\n")
        if part.startswith("**How the CLI is driven.**")
    )
    words = " ".join(paragraph.split())
    for said in ("`CLAUDE_CODE_EXTRA_BODY`", "attribution, identity", "login", "terms"):
        assert said in words
