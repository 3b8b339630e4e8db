"""What `./check` does, in parts: ``nox -l`` lists them.

Each session has an environment of its own. Arguments behind ``--`` go to pytest:
``nox -s unit -- -k words``.
"""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
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
CLI_VERSIONS = (
    *("2.1.251", "2.1.260", "2.1.265", "2.1.280"),
    *("2.1.300", "2.1.318", "2.1.332"),
)
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
    """Measure the lines and branches that tests in the same process reach.

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
    """Check workflows, templates and compose.yaml by their schemas, and for safety."""
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
        ("compose-spec", ["compose.yaml"]),
    ):
        schema = ("--builtin-schema", f"vendor.{kind}")
        session.run("check-jsonschema", *schema, *files)
    session.run("zizmor", "--offline", "--pedantic", str(folder))


@nox.session
def package(session: nox.Session) -> None:
    """Build the committed tree twice, compare, check and describe the packages.

    The packages are in ``dist``, the software bill of materials (CycloneDX) in
    ``build``. An argument is the tag of a release: ``nox -s package -- v0.1.0``.
    """
    session.install("build>=1.3", "cyclonedx-bom>=7", "twine>=6.1")
    built = Path(session.create_tmp())
    first, second = (_build(session, built / name) for name in ("first", "second"))
    if first != second:
        session.error(f"two builds differ: {first} {second}")
    shutil.rmtree("dist", ignore_errors=True)
    shutil.copytree(built / "first" / "dist", "dist")
    packages = sorted(str(path) for path in Path("dist").iterdir())
    for path in packages:
        session.log(f"{first[Path(path).name]}  {path}")
    [wheel] = (path for path in packages if path.endswith(".whl"))
    version = Path(wheel).name.split("-")[1]
    if session.posargs and session.posargs != [f"v{version}"]:
        session.error(f"the version is {version}, the tag is {session.posargs[0]}")
    session.run("twine", "check", "--strict", *packages)
    server = built / "server"
    session.run("python", "-m", "venv", "--clear", str(server))
    python = str(server / "bin" / "python")
    wanted = f"{wheel}[claude,postgres]"
    session.run(python, "-m", "pip", "install", "--quiet", wanted, external=True)
    session.run(
        python, "-m", "pip", "uninstall", "--quiet", "--yes", "pip", external=True
    )
    Path("build").mkdir(exist_ok=True)
    description = ("--output-reproducible", "--output-file", "build/sbom.cdx.json")
    of_project = ("--pyproject", "pyproject.toml")
    session.run("cyclonedx-py", "environment", *of_project, *description, python)


@nox.session
def cli_matrix(session: nox.Session) -> None:
    """Check all published versions, and run the end-to-end tests on some of them.

    The session needs npm. A check takes eight seconds, the tests about six minutes.
    """
    session.install("--editable", ".[test]")
    folder = str(Path(session.create_tmp()) / "clis")
    versions = session.posargs or CLI_VERSIONS
    options = ("--published", "--e2e", *versions)
    session.run("python", "-m", "tests.matrix", folder, *options)


def _build(session: nox.Session, folder: Path) -> Mapping[str, str]:
    """Build the committed tree; returns the digest of each package by its name."""
    shutil.rmtree(folder, ignore_errors=True)
    source = str(folder / "source")
    session.run("git", "clone", "--quiet", ".", source, external=True)
    time = session.run("git", "log", "-1", "--format=%ct", external=True, silent=True)
    out = folder / "dist"
    session.run(
        *("python", "-m", "build", "--outdir", str(out), source),
        env={"SOURCE_DATE_EPOCH": str(time).strip()},
        silent=True,
    )
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


def _test(session: nox.Session, paths: Sequence[str]) -> None:
    session.install("--editable", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or paths))
