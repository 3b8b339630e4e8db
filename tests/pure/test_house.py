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
MOST_LINES = 450

# Values in, values out: these modules, and all below a name that ends with a dot.
PURE_NAMES = (
    "ccproxy.option_values",
    "ccproxy.options",
    "ccproxy.settings",
    "ccproxy.reach",
    "ccproxy.core.",
    "ccproxy.errors",
    "ccproxy.accounting",
    "ccproxy.dialects.",
    "ccproxy.claude.body.",
    "ccproxy.claude.shaping.",
    *(
        f"ccproxy.claude.protocol.{name}"
        for name in ("codec", "records", "requests", "stream", "failures")
    ),
    *(
        f"ccproxy.claude.native.{name}"
        for name in (
            *("prompt", "events", "translation", "pairing", "history", "turn"),
            *("calls", "prose", "tally", "demand", "structured", "tools"),
            "suspension",
        )
    ),
    *(
        f"ccproxy.claude.{name}"
        for name in (
            *("turn", "answers", "error_paths", "question", "models"),
            *("spending", "observer", "capacity", "status", "login", "composing"),
        )
    ),
    "ccproxy.claude.process.launch",
    "ccproxy.claude.schemas.limits",
    "ccproxy.claude.schemas.validation",
    "ccproxy.claude.schemas.drafts",
    "ccproxy.claude.schemas.patterns",
    "ccproxy.claude.schemas.wire",
    "ccproxy.claude.schemas.wording",
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
PURE = tuple(
    name
    for name in MODULES
    if not name.endswith("__init__")
    and any(
        name.startswith(pure) if pure.endswith(".") else name == pure
        for pure in PURE_NAMES
    )
)

GROUND = {
    "ccproxy.activity",
    "ccproxy.option_values",
    "ccproxy.options",
    "ccproxy.settings",
    "ccproxy.reach",
    "ccproxy.errors",
    "ccproxy.accounting",
    "ccproxy.flags",
    "ccproxy.detached",
    "ccproxy.logs",
    "ccproxy.endpoints",
    "ccproxy.readiness",
}
DIALECTS, CLAUDE, WEB = "ccproxy.dialects", "ccproxy.claude", "ccproxy.web"
STORE, CORE = "ccproxy.store", "ccproxy.core"
SERVER = "ccproxy.server"
PREMISES, DOCTOR = "ccproxy.premises", "ccproxy.doctor"
METRICS, USAGE = "ccproxy.metrics", "ccproxy.usage"
SERVICE, COMMAND = "ccproxy.service", "ccproxy.command"
ASSEMBLY = "ccproxy.assembly"
# The version, and what others embed: it stands for all floors at once.
ROOT = "ccproxy"

# Each floor with what it may import, besides itself.
BELOW = {
    # What requests and answers are belongs to the ground of all others.
    "ground": {"ground", CORE},
    CORE: {"ground"},
    DIALECTS: {"ground", CORE},
    CLAUDE: {"ground", CORE},
    STORE: {"ground", CORE},
    WEB: {"ground", CORE, DIALECTS, STORE},
    METRICS: {"ground", CLAUDE, WEB, ROOT},
    SERVER: {"ground", CLAUDE, ROOT},
    PREMISES: {"ground", CLAUDE, STORE, SERVER},
    ASSEMBLY: {"ground", CLAUDE, SERVER, PREMISES},
    DOCTOR: {"ground", CORE, CLAUDE, STORE, PREMISES, ROOT},
    USAGE: {"ground", DIALECTS, STORE},
    SERVICE: {"ground", STORE, WEB, METRICS, PREMISES, ASSEMBLY, ROOT},
    COMMAND: {"ground", CLAUDE, SERVICE, DOCTOR, USAGE, ROOT},
}

# Within the claude room: each part with the other parts that it may import.
PARTS = {
    "body": {"shaping"},
    "shaping": {"body"},
    "protocol": set(),
    "process": {"protocol"},
    "schemas": set(),
    "native": {"body", "pool", "process", "protocol", "claude"},
    "pool": {"process", "protocol", "claude"},
}


def floor(name: str) -> str:
    """The floor of a module; a new room has to be given one here."""
    if name in GROUND:
        return "ground"
    for room in (CORE, DIALECTS, CLAUDE, STORE, WEB, SERVER, DOCTOR, USAGE):
        if name == room or name.startswith(f"{room}."):
            return room
    rooms = (METRICS, PREMISES, ASSEMBLY, SERVICE, COMMAND, ROOT)
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
    assert all(
        any(module.startswith(name) for module in MODULES) for name in PURE_NAMES
    )
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


def part(name: str) -> str:
    """The part of the claude room that a module is in; ``claude`` for the rest."""
    inner = name.removeprefix(f"{CLAUDE}.").split(".")[0]
    return inner if f"{CLAUDE}.{inner}" in PACKAGES else "claude"


@pytest.mark.parametrize("name", [name for name in MODULES if part(name) in PARTS])
def test_parts_of_the_claude_room_import_only_what_they_may(name: str) -> None:
    own = part(name.removesuffix(".__init__"))
    found = {part(m) for m in imported_modules(name) if m.startswith(f"{CLAUDE}.")}
    assert found - {own} <= PARTS[own]


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
