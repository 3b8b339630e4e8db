"""The paths, commands and variables in CONTRIBUTING.md and tests/README.md exist."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.docs import ROOT, blocks

PAGES = (ROOT / "CONTRIBUTING.md", ROOT / "tests" / "README.md")
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
# The workflows of the sessions that do not run for every change.
OTHER_WORKFLOWS = {"cli_matrix": "cli-versions.yml", "package": "release.yml"}
_TOP = {path.name for path in ROOT.iterdir()} - {".venv"}
_QUOTED = re.compile(r"`([^`\n]+)`")
_VARIABLE = re.compile(r"environ\.get\(\s*\"(CCPROXY_\w+)\"")
# Made by `./check`; not a part of the tree.
_MADE = {".venv"}


def sessions() -> set[str]:
    """The names of the sessions in noxfile.py."""
    found = set()
    for node in ast.parse((ROOT / "noxfile.py").read_text()).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if ast.unparse(decorator).startswith("nox.session"):
                keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
                names = [k.value for k in keywords if k.arg == "name"]
                found.add(ast.literal_eval(names[0]) if names else node.name)
    return found


def is_path(word: str) -> bool:
    """Whether a word is meant as a path of the tree: it begins with one."""
    return bool(re.fullmatch(r"[\w./-]+", word)) and word.split("/")[0] in _TOP | _MADE


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command line in a block, without its comment."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_paths_exist(page: Path) -> None:
    words = _QUOTED.findall(page.read_text())
    named = {word for word in words if is_path(word) and word not in _MADE}
    assert len(named) > 20
    assert [word for word in sorted(named) if not (ROOT / word).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_begin_with_what_there_is(page: Path) -> None:
    """Otherwise a path whose first folder is gone would not be looked at."""
    words = _QUOTED.findall(page.read_text())
    odd = [w for w in words if re.fullmatch(r"[\w.-]+(/[\w.-]+)+\.(py|md)", w)]
    assert [word for word in odd if not is_path(word)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)", page.read_text())
    assert [x for x in links if not (page.parent / x).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_of_sessions_and_paths_that_exist(page: Path) -> None:
    inline = [w for w in _QUOTED.findall(page.read_text()) if w.startswith("nox -s ")]
    lines = [*blocks(page, "sh"), *inline]
    found = [words for line in lines for words in commands(line)]
    assert len(found) > 5
    for words in found:
        if words[0] == "nox":
            own, _, _ = " ".join(words).partition(" -- ")
            named = own.split()[2:] if "-s" in words else []
            assert set(named) <= sessions(), f"{words}: no such session"
            rest = words[words.index("--") + 1 :] if "--" in words else []
            paths = [word for word in rest if "/" in word]
        else:
            assert words[0] == "./check", f"{words}: how is that run?"
            paths = words[:1]
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_noxfile_s_paths_exist() -> None:
    text = (ROOT / "noxfile.py").read_text()
    paths = re.findall(r"\"(tests/[\w/.]+)\"", text)
    assert len(paths) > 6
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_tests_is_in_a_session_and_on_the_page() -> None:
    paths = (ROOT / "tests").rglob("test_*.py")
    names = {f"tests/{path.relative_to(ROOT / 'tests').parts[0]}" for path in paths}
    noxfile = (ROOT / "noxfile.py").read_text()
    # Programs of others are run where somebody has installed them.
    assert {n for n in names if f'"{n}"' not in noxfile} == {"tests/clients"}
    page = PAGES[1].read_text()
    assert [name for name in sorted(names) if f"| `{name}/" not in page] == []


def test_variables_are_those_of_the_tests() -> None:
    texts = [path.read_text() for path in (ROOT / "tests").rglob("*.py")]
    used = {name for text in texts for name in _VARIABLE.findall(text)}
    told = set(re.findall(r"^\| `(CCPROXY_\w+)` \|", PAGES[1].read_text(), re.M))
    assert told == used


def test_the_workflow_runs_every_session() -> None:
    run = re.findall(r"nox -s ([\w ]+)", WORKFLOW)
    named = {name for names in run for name in names.split()}
    # The pages' tests are among those of `unit`.
    assert named | {"docs", *OTHER_WORKFLOWS} == sessions()
    for session, file in OTHER_WORKFLOWS.items():
        workflow = (ROOT / ".github" / "workflows" / file).read_text()
        assert f"nox -s {session} " in workflow


def test_the_gate_waits_for_every_job() -> None:
    jobs = re.findall(r"^  (\w+):$", WORKFLOW.partition("\njobs:\n")[2], re.M)
    needs = re.findall(r"^    needs: \[(.*)\]$", WORKFLOW, re.M)
    assert len(needs) == 1
    assert [*needs[0].split(", "), "gate"] == jobs


def test_the_oldest_python_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    assert f'python: ["{oldest}", ' in WORKFLOW
    assert f'OLDEST_PYTHON = "{oldest}"' in (ROOT / "noxfile.py").read_text()


def test_pre_commit_has_the_ruff_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = {r for r in project["optional-dependencies"]["dev"] if r.startswith("ruff")}
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert set(re.findall(r'"(ruff[^"]*)"', hooks)) == own
