"""The house rules: who imports whom, and how long a module may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ccproxy

FOLDER = Path(ccproxy.__file__).parent
MODULES = {
    ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts): path
    for path in sorted(FOLDER.rglob("*.py"))
}
PACKAGES = {
    name.removesuffix(".__init__") for name in MODULES if name.endswith(".__init__")
}
MOST_LINES = 400

# Values in, values out.
PURE = (
    "ccproxy.option_values",
    "ccproxy.options",
    "ccproxy.settings",
    "ccproxy.reach",
    "ccproxy.conversation",
    "ccproxy.events",
    "ccproxy.errors",
    "ccproxy.accounting",
    *(name for name in MODULES if name.startswith("ccproxy.dialects.")),
    "ccproxy.claude.protocol.codec",
    "ccproxy.claude.protocol.records",
    "ccproxy.claude.protocol.requests",
    "ccproxy.claude.native.tools",
    "ccproxy.claude.native.transcript",
    "ccproxy.claude.native.recording",
    "ccproxy.claude.capacity",
    "ccproxy.claude.native.turn",
    "ccproxy.claude.native.calls",
    "ccproxy.claude.native.tally",
    "ccproxy.claude.native.prose",
    "ccproxy.claude.native.demand",
    "ccproxy.claude.native.structured",
    "ccproxy.claude.native.suspension",
    "ccproxy.claude.protocol.failures",
    "ccproxy.claude.models",
    "ccproxy.claude.process.launch",
    "ccproxy.claude.observer",
    "ccproxy.claude.spending",
    *(f"ccproxy.claude.schemas.{name}" for name in ("drafts", "limits", "patterns")),
    "ccproxy.claude.schemas.program",
    *(f"ccproxy.claude.schemas.{name}" for name in ("validation", "wire", "wording")),
    "ccproxy.web.gate",
    "ccproxy.doctor.verdict",
    "ccproxy.web.hosts",
    "ccproxy.web.origins",
    "ccproxy.web.entrance",
    "ccproxy.web.clients",
    "ccproxy.web.observer",
    "ccproxy.web.receipt",
    "ccproxy.web.live",
    "ccproxy.activity",
    "ccproxy.usage.table",
)

GROUND = {
    "ccproxy.activity",
    "ccproxy.option_values",
    "ccproxy.options",
    "ccproxy.settings",
    "ccproxy.reach",
    "ccproxy.conversation",
    "ccproxy.events",
    "ccproxy.errors",
    "ccproxy.accounting",
    "ccproxy.flags",
    "ccproxy.detached",
    "ccproxy.logs",
    "ccproxy.endpoints",
    "ccproxy.readiness",
}
DIALECTS, CLAUDE, WEB = "ccproxy.dialects", "ccproxy.claude", "ccproxy.web"
STORE = "ccproxy.store"
SERVER = "ccproxy.server"
PREMISES, DOCTOR = "ccproxy.premises", "ccproxy.doctor"
METRICS, USAGE = "ccproxy.metrics", "ccproxy.usage"
SERVICE, COMMAND = "ccproxy.service", "ccproxy.command"
# The version, and what others embed: it stands for all floors at once.
ROOT = "ccproxy"

# Each floor with what it may import, besides itself.
BELOW = {
    "ground": {"ground"},
    DIALECTS: {"ground"},
    CLAUDE: {"ground"},
    STORE: {"ground"},
    WEB: {"ground", DIALECTS, STORE},
    METRICS: {"ground", CLAUDE, WEB, ROOT},
    SERVER: {"ground"},
    PREMISES: {"ground", CLAUDE, STORE, SERVER},
    DOCTOR: {"ground", CLAUDE, STORE, PREMISES, ROOT},
    USAGE: {"ground", DIALECTS, STORE},
    SERVICE: {"ground", DIALECTS, CLAUDE, STORE, WEB, METRICS, PREMISES, ROOT},
    COMMAND: {"ground", DIALECTS, CLAUDE, WEB, SERVICE, DOCTOR, USAGE, ROOT},
}


def floor(name: str) -> str:
    """The floor of a module; a new room has to be given one here."""
    if name in GROUND:
        return "ground"
    for room in (DIALECTS, CLAUDE, STORE, WEB, SERVER, DOCTOR, USAGE):
        if name == room or name.startswith(f"{room}."):
            return room
    rooms = (METRICS, PREMISES, SERVICE, COMMAND, ROOT)
    assert name in rooms, f"{name} has no floor"
    return name


def imports(name: str) -> Iterator[str]:
    """Everything that a module imports, wherever in it, by its full name."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module is not None
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def imported_modules(name: str) -> set[str]:
    """The modules of ours that a module imports."""
    found = set()
    for full in imports(name):
        if full.split(".")[0] == "ccproxy":
            module, _, _ = full.rpartition(".")
            known = full in MODULES or full in PACKAGES
            found.add(full if known else module)
    return found


def test_the_rooms_are_found() -> None:
    assert set(PURE) <= set(MODULES)
    assert {ROOT, CLAUDE, DIALECTS, WEB} <= PACKAGES


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_twisted(name: str) -> None:
    packages = {full.split(".")[0] for full in imports(name)}
    assert packages.isdisjoint({"twisted", "klein", "zope", "treq", "werkzeug"})


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_pure_modules_only(name: str) -> None:
    assert imported_modules(name) <= set(PURE)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name != "ccproxy.__init__"]
)
def test_imports_only_go_down(name: str) -> None:
    own = floor(name.removesuffix(".__init__"))
    floors = {floor(module) for module in imported_modules(name)}
    assert floors - {own} <= BELOW[own]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_not_too_long(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", [name for name in MODULES if name != SERVICE])
def test_the_reactor_is_imported_in_one_place(name: str) -> None:
    reactors = {"twisted.internet.reactor", "twisted.internet.reactor.*"}
    assert reactors.isdisjoint(imports(name))


@pytest.mark.parametrize(
    "name", [n for n in MODULES if n.endswith("__init__") and n != "ccproxy.__init__"]
)
def test_packages_hold_nothing_but_words(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1
