"""The rules of the house: which package imports which, and the length of modules."""

import ast
import re
from functools import cache
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
MOST_LINES = 420

# Values in, values out: these modules, and all below a name that ends with a dot.
PURE_NAMES = (
    "ccproxy.core.",
    "ccproxy.config.api_settings",
    "ccproxy.config.claude_settings",
    "ccproxy.config.help",
    "ccproxy.config.limits",
    "ccproxy.config.mcp_names",
    "ccproxy.config.mcp_servers",
    "ccproxy.config.options",
    "ccproxy.config.parsers",
    "ccproxy.config.reading",
    "ccproxy.config.settings",
    "ccproxy.api.",
    "ccproxy.claude.body.",
    "ccproxy.claude.shaping.",
    *(
        f"ccproxy.claude.{name}"
        for name in (
            *("answers", "answer_cache", "model_names", "models", "observer"),
            *("counting.countable", "counting.media", "status"),
            *(f"protocol.{each}" for each in ("codec", "records", "requests")),
            *("protocol.stream", "protocol.failures", "protocol.error_log"),
            "protocol.turn_failures",
            "worker.turn_decoder",
            *("process.launch", "process.owner", "process.binary_id"),
            *("installation.compose_mode", "installation.examined"),
            *("installation.contract", "installation.probe_result"),
            *(f"schemas.{each}" for each in ("text_limits", "validation", "drafts")),
            *("schemas.helper_messages", "schemas.arguments", "schemas.shape"),
            *("schemas.subschemas", "schemas.upgrade"),
            *(f"native.{each}" for each in ("prompt", "block_writer", "request")),
            *(f"native.{each}" for each in ("pairing", "history", "turn_decoder")),
            *(f"native.{each}" for each in ("tool_calls", "usage_counter")),
            *(f"native.{each}" for each in ("structured_output", "mcp_server")),
            *("native.suspension", "native.question"),
        )
    ),
    *(
        f"ccproxy.web.{name}"
        for name in (
            *("access", "head_checks", "observer", "error_formats", "operation"),
            "paths",
        )
    ),
    "ccproxy.cli.doctor.results",
    "ccproxy.cli.usage.table",
    *(
        f"ccproxy.cli.service.{name}"
        for name in ("definition", "systemd_unit", "launchd_agent")
    ),
)
# Packages of routes: each has a module `routes`.
API_GROUPS = (
    *("admin", "chat", "conversations", "messages", "models", "passthrough"),
    "responses",
)
# Where Twisted calls an API, or an API calls Twisted.
NOT_PURE = frozenset(
    {
        "ccproxy.api.app",
        "ccproxy.api.admin.dashboard",
        "ccproxy.api.passthrough.relay",
        "ccproxy.api.responses.lifecycle.background",
        "ccproxy.api.responses.lifecycle.event_log",
        "ccproxy.api.responses.lifecycle.replay",
        "ccproxy.api.responses.lifecycle.turns",
        "ccproxy.api.responses.websocket",
        *(f"ccproxy.api.{name}.routes" for name in API_GROUPS),
    }
)
PURE = tuple(
    name
    for name in MODULES
    if not name.endswith("__init__")
    and name not in NOT_PURE
    and any(
        name.startswith(pure) if pure.endswith(".") else name == pure
        for pure in PURE_NAMES
    )
)

ROOMS = ("core", "config", "claude", "store", "web", "api", "server", "cli")
# The version, and what others embed: it stands for all rooms at once.
ROOT = "ccproxy"
CLAUDE, SERVICE = "ccproxy.claude", "ccproxy.server.service"
RESPONSES = "ccproxy.api.responses"

# Each room with what it may import, besides itself.
BELOW = {
    "core": set(),
    "config": {"core"},
    "claude": {"core", "config"},
    "store": {"core"},
    "web": {"core", "config"},
    "api": {"core", "config", "store", "web"},
    "server": {"core", "config", "claude", "store", "web", "api", ROOT},
    "cli": {*ROOMS, ROOT},
}

# Within the claude room: each part with the other parts that it may import.
PARTS = {
    "body": {"schemas", "shaping"},
    "shaping": {"body", "schemas"},
    "protocol": set(),
    "process": {"protocol"},
    "schemas": set(),
    "worker": {"body", "process", "protocol", "claude"},
    "completion": {
        *("body", "pool", "protocol", "shaping", "worker", "claude"),
    },
    "counting": {"body", "pool", "worker", "claude"},
    "pool": {"installation", "process", "protocol", "worker", "claude"},
    "installation": {"body", "process", "protocol", "worker"},
    "native": {
        *("body", "installation", "pool", "process", "protocol", "schemas"),
        *("shaping", "worker", "claude"),
    },
}

# Within the package of Responses, in the same way.
RESPONSES_PARTS = {
    "input": {"responses"},
    "output": {"input", "responses"},
    "lifecycle": {"input", "output", "responses"},
}


def room(name: str) -> str:
    """The room of a module; a new room has to be given one here."""
    if name == ROOT:
        return ROOT
    found = name.split(".")[1]
    if found == "__main__":
        # `python -m ccproxy` is the program of `cli`.
        return "cli"
    assert found in ROOMS, f"{name} is in no room"
    return found


@cache
def imports(name: str) -> frozenset[str]:
    """Everything that a module imports, wherever in it, by its full name."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            assert node.module is not None
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


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
    assert {ROOT, *(f"{ROOT}.{name}" for name in ROOMS)} == {
        name for name in PACKAGES if name.count(".") < 2
    }
    assert set(MODULES) >= NOT_PURE


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
    own = room(name.removesuffix(".__init__"))
    rooms = {room(module) for module in imported_modules(name)}
    assert rooms - {own} <= BELOW[own]


def part(name: str, package: str) -> str:
    """The part of a package that a module is in; the package's name for the rest."""
    inner = name.removeprefix(f"{package}.").split(".")[0]
    is_part = name.startswith(f"{package}.") and f"{package}.{inner}" in PACKAGES
    return inner if is_part else package.rpartition(".")[2]


@pytest.mark.parametrize(
    ("package", "parts", "name"),
    [
        (package, parts, name)
        for package, parts in ((CLAUDE, PARTS), (RESPONSES, RESPONSES_PARTS))
        for name in MODULES
        if part(name, package) in parts
    ],
)
def test_parts_of_a_package_import_only_what_they_may(
    package: str, parts: dict[str, set[str]], name: str
) -> None:
    own = part(name, package)
    imported = [m for m in imported_modules(name) if m.startswith(f"{package}.")]
    assert {part(m, package) for m in imported} - {own} <= parts[own]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_not_too_long(name: str) -> None:
    assert len(MODULES[name].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("name", [name for name in MODULES if name != SERVICE])
def test_the_reactor_is_imported_in_one_place(name: str) -> None:
    reactors = {"twisted.internet.reactor", "twisted.internet.reactor.*"}
    assert reactors.isdisjoint(imports(name))


@pytest.mark.parametrize("name", API_GROUPS)
def test_routes_are_methods_under_a_decorator_on_a_klein_app(name: str) -> None:
    groups = [
        node
        for node in ast.parse(MODULES[f"ccproxy.api.{name}.routes"].read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(line) == "_app = Klein()" for line in node.body)
    ]
    assert groups
    for group in groups:
        routes = [
            decorator
            for method in group.body
            if isinstance(method, ast.AsyncFunctionDef)
            for decorator in method.decorator_list
        ]
        assert routes
        assert all(ast.unparse(each).startswith("route(_app, ") for each in routes)


def test_no_public_class_is_defined_twice() -> None:
    found: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(name)
    assert {each: names for each, names in found.items() if len(names) > 1} == {}


def test_every_group_of_routes_is_known() -> None:
    found = {name.split(".")[2] for name in MODULES if name.endswith(".routes")}
    assert found == set(API_GROUPS)


@pytest.mark.parametrize(
    "name", [n for n in MODULES if n.endswith("__init__") and n != "ccproxy.__init__"]
)
def test_packages_hold_nothing_but_words(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_no_test_module_imports_another() -> None:
    house = Path(__file__).parent
    pattern = re.compile(r"^(?:from|import) tests\.\S*\.test_", re.MULTILINE)
    found = [
        path.name
        for path in house.parent.rglob("*.py")
        if path.parent != house and pattern.search(path.read_text())
    ]
    assert found == []
