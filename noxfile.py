"""What `./check` does, in parts: ``nox -l`` lists them.

Each session has an environment of its own. Arguments behind ``--`` go to pytest:
``nox -s unit -- -k words``.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "unit", "docs"]
nox.options.reuse_existing_virtualenvs = True
# pip takes minutes to find versions that go with the oldest ones; uv takes seconds.
nox.options.default_venv_backend = "uv|virtualenv"

# The first supported version of the CLI, those with a known difference, and later ones.
CLI_VERSIONS = ("2.1.251", "2.1.260", "2.1.280", "2.1.300", "2.1.318", "2.1.332")
# What needs no real CLI, and what does.
UNIT = ("tests/house", "tests/unit", "tests/integration")
E2E = ("tests/e2e", "tests/packaging", "tests/browser")
# Hold the pages to what they say.
DOCS = ("tests/house",)
# The oldest Python has the oldest versions of everything.
OLDEST_PYTHON = "3.11"
# The official clients need newer versions of what the server needs, too; mypy and ruff
# do not run.
_NOT_WITH_LOWEST = frozenset({"anthropic", "openai", "ccproxy"})
_NEED_THE_CLIENTS = (
    "tests/unit/test_bytes.py",
    "tests/unit/support/test_provider_rules.py",
)


def project() -> dict[str, Any]:
    """The table ``project`` of pyproject.toml."""
    table: dict[str, Any] = nox.project.load_toml("pyproject.toml")["project"]
    return table


def extra(name: str) -> Sequence[Requirement]:
    """What an extra asks for."""
    return [Requirement(text) for text in project()["optional-dependencies"][name]]


def lowest(requirements: Iterable[Requirement]) -> Sequence[str]:
    """Constraints that allow the lower bound of each requirement, and nothing else."""
    bounds = ((r.name, s) for r in requirements for s in r.specifier)
    return [f"{name}=={s.version}" for name, s in bounds if s.operator == ">="]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and the security rules of ruff."""
    session.install(*(str(r) for r in extra("dev") if r.name == "ruff"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.install("--editable", ".[dev]")
    session.run("mypy", *session.posargs)


@nox.session
def unit(session: nox.Session) -> None:
    """The tests that need no real CLI."""
    _test(session, UNIT)


@nox.session
def coverage(session: nox.Session) -> None:
    """The lines and branches that tests in the same process reach.

    The other tests run the code in processes of their own, and the properties would
    take three times as long.
    """
    session.install("--editable", ".[test]")
    fast = "not hypothesis and not exhaustive"
    session.run("coverage", "erase")
    tests = session.posargs or ("tests/unit", "tests/integration")
    session.run("coverage", "run", "-m", "pytest", *tests, "-m", fast)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def e2e(session: nox.Session) -> None:
    """The tests with the real CLI, of installations and in a browser."""
    _test(session, E2E)


@nox.session
def docs(session: nox.Session) -> None:
    """The tests that hold the pages to what they say."""
    _test(session, DOCS)


@nox.session(name="lowest", python=OLDEST_PYTHON)
def lowest_versions(session: nox.Session) -> None:
    """The tests with the oldest versions that pyproject.toml allows."""
    needed = [Requirement(text) for text in project()["dependencies"]]
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join(lowest([*needed, *extra("postgres")])) + "\n")
    tools = [str(r) for r in extra("test") if r.name not in _NOT_WITH_LOWEST]
    session.install(
        *("--editable", ".[claude,postgres]", "--constraint", str(constraints)), *tools
    )
    ignored = [f"--ignore={path}" for path in _NEED_THE_CLIENTS]
    # An old anyio has a plugin for pytest that the newest pytest warns of.
    options = ("-p", "no:anyio", *ignored)
    session.run("python", "-m", "pytest", *options, *(session.posargs or UNIT))


@nox.session
def workflows(session: nox.Session) -> None:
    """The workflows and templates of .github, by their schemas and for safety."""
    session.install("check-jsonschema>=0.33", "zizmor>=1.32")
    folder = Path(".github")
    workflows = sorted(str(path) for path in folder.glob("workflows/*.yml"))
    templates = folder.glob("ISSUE_TEMPLATE/*.yml")
    forms = sorted(str(path) for path in templates if path.name != "config.yml")
    for kind, files in (
        ("github-workflows", workflows),
        ("dependabot", [str(folder / "dependabot.yml")]),
        ("github-issue-config", [str(folder / "ISSUE_TEMPLATE" / "config.yml")]),
        ("github-issue-forms", forms),
    ):
        schema = ("--builtin-schema", f"vendor.{kind}")
        session.run("check-jsonschema", *schema, *files)
    session.run("zizmor", "--offline", "--pedantic", str(folder))


@nox.session
def cli_matrix(session: nox.Session) -> None:
    """The contract's checks on published versions of the CLI; needs npm."""
    session.install("--editable", ".[test]")
    folder = str(Path(session.create_tmp()) / "clis")
    versions = session.posargs or CLI_VERSIONS
    session.run("python", "-m", "tests.matrix", folder, *versions)


def _test(session: nox.Session, paths: Sequence[str]) -> None:
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or paths))
