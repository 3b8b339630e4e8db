"""The threat model names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "security.md").read_text()
# `tests/unit/web/test_access.py::test_no_other_key_opens`, or a whole file.
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)))


@pytest.mark.parametrize(("path", "name"), NAMED, ids="::".join)
def test_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    functions = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not name or name in functions
    assert any(found.startswith("test_") for found in functions)


def test_every_claim_names_a_test() -> None:
    """Rows of the tables are claims."""
    rows = [line for line in TEXT.splitlines() if line.startswith("| ")]
    claims = [row for row in rows if not row.endswith("| shown by |")]
    assert len(claims) > 30
    assert [row for row in claims if "`tests/" not in row] == []
