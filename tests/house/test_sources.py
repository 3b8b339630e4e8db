"""The sources that docstrings name exist."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.docs import DOCS, ROOT

PAGES = ("claude-cli-protocol.md", "twisted-notes.md")
FOLDERS = ("ccproxy", "tests", "benchmarks", "examples", "twisted")
# `docs/twisted-notes.md, "Klein and HTTP" and "Shutdown"`; a line may end anywhere.
_REFERENCE = re.compile(
    r'docs/(claude-cli-protocol|twisted-notes)\.md((?:,? (?:and )?"[^"]+")*)'
)
# `tests/unit/web/test_access.py::test_no_other_key_opens`, a whole file, or a folder.
_PATH = re.compile(r"`((?:ccproxy|tests|docs|benchmarks)/[\w./-]+)(?:::(\w+))?`")
# `rules 17 to 19 and 22 of the Messages API`.
_RULES = re.compile(r"\brules? (\d[\d, toand]*\d|\d)\b")
_OLD_NAMES = ("protocol " + "notes", "Twisted " + "facts")


def sections(page: str) -> set[str]:
    """The names of a page's sections."""
    return set(re.findall(r"^## (.+)$", (DOCS / page).read_text(), re.MULTILINE))


def sources() -> dict[str, str]:
    """Each module's text without line ends, indents and marks of comments."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {
        str(path.relative_to(ROOT)): re.sub(r"\s*\n\s*(?:# )?", " ", path.read_text())
        for path in sorted(paths)
        if path != Path(__file__)
    }


def test_named_sections_exist() -> None:
    found = {name: sections(name) for name in PAGES}
    named, missing = 0, []
    for path, text in sources().items():
        for page, quoted in _REFERENCE.findall(text):
            names = re.findall(r'"([^"]+)"', quoted)
            if not names:
                missing.append(f"{path}: names no section of docs/{page}.md")
            missing += [
                f"{path}: docs/{page}.md has no section {name!r}"
                for name in names
                if name not in found[f"{page}.md"]
            ]
            named += len(names)
    assert missing == []
    assert named > 30


def test_named_rules_exist() -> None:
    page = (DOCS / "messages-api-rules.md").read_text()
    rules = {int(number) for number in re.findall(r"^(\d+)\. ", page, re.MULTILINE)}
    named = {
        (path, int(number))
        for path, text in sources().items()
        for numbers in _RULES.findall(text)
        for number in re.findall(r"\d+", numbers)
    }
    assert len(named) > 30
    assert [(path, number) for path, number in named if number not in rules] == []


def test_nobody_names_a_source_outside_the_tree() -> None:
    assert [
        (path, name)
        for path, text in sources().items()
        for name in _OLD_NAMES
        if name.lower() in text.lower()
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_named_tests_and_modules_exist(page: str) -> None:
    named = set(_PATH.findall((DOCS / page).read_text()))
    assert len(named) > 5
    missing = []
    for path, test in sorted(named):
        if not (ROOT / path).exists():
            missing.append(path)
        elif test:
            tree = ast.parse((ROOT / path).read_text())
            functions = {
                node.name
                for node in ast.walk(tree)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            if test not in functions:
                missing.append(f"{path}::{test}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_section_says_what_holds_it(page: str) -> None:
    text = (DOCS / page).read_text()
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    bodies = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert [
        name
        for name, body in bodies.items()
        if "`tests/" not in body.partition("Held by")[2]
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_quoted_names_of_sections_exist(page: str) -> None:
    """`see "Ends"`: a page refers to its own sections by their names."""
    text = " ".join((DOCS / page).read_text().split())
    named = set(re.findall(r'(?:see|limit of|variables of|\() ?"([A-Z][^"]+)"', text))
    assert named <= sections(page)
