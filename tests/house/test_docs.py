"""The tables and paths in docs agree with the code."""

import ast
import re
from pathlib import Path

import pytest
from msgspec import Struct

from ccproxy.api.admin.activity import REMEDIES
from ccproxy.api.app import ROUTES
from ccproxy.api.chat.request import ChatRequest
from ccproxy.api.responses.input.fields import ResponsesRequest
from ccproxy.claude.native.session import SessionLost
from ccproxy.claude.worker.commands import WorkerLost
from ccproxy.config.settings import OPTIONS
from ccproxy.core.errors import Cause
from ccproxy.web.access import CORSPolicy
from tests.support.docs import DOCS, README, ROOT, all_errors, all_kinds, anchors, rows
from tests.support.fates import fate_rows

PAGES = (
    *(README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"),
    *(ROOT / "benchmarks" / "README.md", ROOT / "tests" / "README.md"),
    *sorted(DOCS.rglob("*.md")),
)
_CODE = re.compile(r"`(\w+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
# A path below one of the folders of the tree, with or without a test's name.
_PATH = re.compile(
    r"`((?:ccproxy|tests|docs|benchmarks|contrib|examples|twisted)/[\w./-]+)(?:::\w+)?`"
)

_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")
# These speak of the CLI's own options, of tools for development, and of former names.
_INNER = {
    *("claude-cli-protocol.md", "twisted-notes.md", "dependencies.md", "settings.md"),
}
# Of `ccproxy doctor`, `ccproxy usage` and `ccproxy service`, and of every program.
_COMMANDS = {"ask", "by", "json", "since", "dry-run", "force", "help", "version"}
# Of systemd, the bare CLI and the benchmarks.
_OTHERS = {"user", "unit", "now", "fdname", "pty", "print", "beside", "minutes"}
# Of uv, pip, podman and gh.
_INSTALLERS = {
    *("from", "upgrade", "rm", "init", "read-only", "tmpfs", "cap-drop", "name"),
    *("security-opt", "stop-timeout", "entrypoint", "userns", "format", "repo"),
}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_table_of_errors_is_the_code_s() -> None:
    told = {
        (int(status), code)
        for status, codes, *_ in rows(DOCS / "errors.md", "errors")
        for code in _CODE.findall(codes)
    }
    missing, wrong = all_errors() - told, told - all_errors()
    assert not missing, f"the table of docs/errors.md lacks {sorted(missing)}"
    assert not wrong, f"docs/errors.md has {sorted(wrong)}, the code has not"


def test_table_of_errors_is_in_order() -> None:
    statuses = [int(status) for status, *_ in rows(DOCS / "errors.md", "errors")]
    assert statuses == sorted(statuses)


def test_table_of_errors_says_when_and_what_helps() -> None:
    table = rows(DOCS / "errors.md", "errors")
    assert all(when for _, _, when, _ in table)
    helps = {code.strip("`"): remedy for _, code, _, remedy in table}
    assert len(helps) == len(table), "a code has two rows"
    assert helps == dict(REMEDIES)


def test_table_of_causes_is_the_code_s() -> None:
    table = rows(DOCS / "errors.md", "causes")
    told = [cause.strip("`") for cause, *_ in table]
    assert sorted(told) == sorted(Cause)
    assert all(what for *_, what in table)
    pairs = {(cause.strip("`"), c) for cause, cs, _ in table for c in _CODE.findall(cs)}
    codes = {code for _, code in all_errors()}
    assert {code for _, code in pairs} <= codes
    made = made_causes()
    assert len(made) > 30
    assert made <= pairs, f"docs/errors.md lacks {sorted(made - pairs)}"


def made_causes() -> set[tuple[str, str]]:
    """Cause and code of each error that names both where it is made."""
    code_of = {kind.__name__: kind.code for kind in all_kinds()}
    code_of |= {lost.__name__: lost.code for lost in (WorkerLost, SessionLost)}
    found = {
        (kind.default_cause.value, kind.code)
        for kind in all_kinds()
        if kind.default_cause is not None
    }
    for path in (ROOT / "ccproxy").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            match call:
                case ast.Call(func=ast.Name(id=kind), keywords=keywords):
                    found |= {
                        (Cause[word.value.attr].value, code_of[kind])
                        for word in keywords
                        if word.arg == "cause"
                        and isinstance(word.value, ast.Attribute)
                        and isinstance(word.value.value, ast.Name)
                        and word.value.value.id == "Cause"
                    }
    return found


def test_table_of_routes_is_the_document_s() -> None:
    told = ["| " + " | ".join(row) + " |" for row in rows(DOCS / "api.md", "routes")]
    expected = [
        f"| {route.method} | `{route.template}` | {route.operation.summary} |"
        for route in ROUTES
    ]
    assert told == expected, "docs/api.md should have:\n" + "\n".join(expected)


@pytest.mark.parametrize(
    ("page", "struct"),
    [("chat-completions.md", ChatRequest), ("responses.md", ResponsesRequest)],
)
def test_table_of_fates_is_the_code_s(page: str, struct: type[Struct]) -> None:
    found = ["| " + " | ".join(row) + " |" for row in rows(DOCS / page, "fates")]
    expected = fate_rows(struct)
    assert found == expected, f"docs/{page} should have:\n" + "\n".join(expected)


def test_named_options_exist() -> None:
    """On the pages for operators and clients' developers."""
    pages = [page for page in (README, *DOCS.glob("*.md")) if page.name not in _INNER]
    named = {(name(p), flag) for p in pages for flag in _FLAG.findall(p.read_text())}
    assert len(named) > 40
    known = {option.flag for option in OPTIONS} | _COMMANDS | _OTHERS | _INSTALLERS
    assert [(page, flag) for page, flag in sorted(named) if flag not in known] == []


def test_table_of_headers_is_what_web_pages_may_read() -> None:
    exposed = CORSPolicy(["*"]).headers([b"https://a.example"])
    names = exposed["access-control-expose-headers"].split(", ")
    told = [name.strip("`") for name, _ in rows(DOCS / "api.md", "headers")]
    assert sorted(told) == sorted(names)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if ":" in link:
            continue
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), f"no such section: {link}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_paths_exist(page: Path) -> None:
    named = set(_PATH.findall(page.read_text()))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def test_paths_are_looked_at() -> None:
    """So that the test above has something to find."""
    named = {path for page in PAGES for path in _PATH.findall(page.read_text())}
    assert len(named) > 100
