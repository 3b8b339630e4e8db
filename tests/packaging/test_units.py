"""The units in contrib/, checked without their service managers."""

import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from ccproxy import __version__
from ccproxy.config.parsers import api_key
from ccproxy.config.settings import OPTIONS, Settings
from tests.packaging.commands import CCPROXY, Running, get
from tests.support import filtered

ROOT = Path(__file__).parent.parent.parent
CONTRIB = ROOT / "contrib"
USER = CONTRIB / "systemd" / "ccproxy.service"
SYSTEM = CONTRIB / "systemd" / "system" / "ccproxy.service"
SOCKET = CONTRIB / "systemd" / "ccproxy.socket"
UNITS = [pytest.param(USER, id="user"), pytest.param(SYSTEM, id="system")]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze"
)
needs_seccomp = pytest.mark.skipif(
    find_library("seccomp") is None, reason="needs libseccomp"
)
needs_nix = pytest.mark.skipif(
    shutil.which("nix-instantiate") is None, reason="needs nix-instantiate"
)


def settings(text: str) -> dict[str, list[str]]:
    """What a unit sets; comments are left out."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def analyze(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def verify(text: str, tmp_path: Path, *options: str) -> None:
    """Have systemd read a unit, with a ccproxy that is there."""
    folder = tmp_path / "units"
    folder.mkdir()
    program = re.compile(r"^ExecStart=\S+/bin/ccproxy", re.MULTILINE)
    text = program.sub(f"ExecStart={CCPROXY}", text)
    (folder / "ccproxy.service").write_text(text)
    shutil.copy(SOCKET, folder)
    names = [str(folder / name) for name in ("ccproxy.service", "ccproxy.socket")]
    done = analyze("verify", *options, *names, home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_understands_the_user_unit(tmp_path: Path) -> None:
    verify(USER.read_text(), tmp_path, "--user")


@needs_systemd
def test_systemd_understands_the_system_unit(tmp_path: Path) -> None:
    verify(SYSTEM.read_text(), tmp_path)


@needs_systemd
def test_systemds_verify_would_notice(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        verify(USER.read_text() + "NoSuchSetting=yes\n", tmp_path, "--user")


@needs_systemd
def test_exposure_of_the_system_unit_is_what_the_docs_say(tmp_path: Path) -> None:
    said = re.search(
        r"exposure as (\d\.\d)", (ROOT / "docs" / "service.md").read_text()
    )
    assert said
    limit = int(float(said[1]) * 10)
    options = ("security", "--offline=true", str(SYSTEM))
    assert analyze(f"--threshold={limit}", *options, home=tmp_path).returncode == 0
    assert analyze(f"--threshold={limit - 1}", *options, home=tmp_path).returncode != 0


@pytest.mark.parametrize("unit", UNITS)
def test_flags_and_limits_of_a_unit(unit: Path) -> None:
    has = settings(unit.read_text())
    flags = re.findall(r"--([a-z-]+)", has["ExecStart"][0])
    assert set(flags) <= {option.flag for option in OPTIONS}
    assert "--api-key-file=%d/key" in has["ExecStart"][0]
    assert has["LoadCredential"][0].startswith("key:")
    assert "MemoryDenyWriteExecute" not in has
    drain = Settings(api_keys=()).drain_timeout
    # What is drained has time to end, and the CLIs to be stopped.
    assert float(has["TimeoutStopSec"][0].removesuffix("s")) >= drain + 15


def test_socket_is_the_default_address() -> None:
    defaults = {option.flag: option.default for option in OPTIONS}
    address = f"{defaults['host']}:{defaults['port']}"
    assert settings(SOCKET.read_text())["ListenStream"] == [address]


def evaluate(values: str) -> subprocess.CompletedProcess[str]:
    """Evaluate the NixOS module with values of its options."""
    stub = Path(__file__).parent / "nix" / "evaluate.nix"
    command = ["nix-instantiate", "--eval", "--strict", "--json", str(stub)]
    command += ["--arg", "module", str(CONTRIB / "nixos" / "module.nix")]
    return subprocess.run(
        [*command, "--arg", "values", values],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def as_unit(service: Mapping[str, Any]) -> str:
    """A service of the module system as the unit that NixOS writes for it."""

    def text(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else str(value)

    lines = ["[Unit]", f"Description={service['description']}"]
    lines += [f"{name}={text(value)}" for name, value in service["unitConfig"].items()]
    lines.append("[Service]")
    path = ":".join(f"{package}/bin" for package in service["path"])
    variables = {"PATH": path, **service["environment"]}
    lines += [f'Environment="{name}={value}"' for name, value in variables.items()]
    settings = service["serviceConfig"].items()
    lines += [f"{name}={text(value)}" for name, value in settings]
    return "\n".join([*lines, "[Install]", f"WantedBy={service['wantedBy'][0]}", ""])


@needs_nix
def test_nixos_unit_is_the_user_unit() -> None:
    done = evaluate('{ enable = true; package = "/nix/ccproxy"; }')
    config = json.loads(done.stdout)["config"]
    made = settings(as_unit(config["systemd"]["user"]["services"]["ccproxy"]))
    wanted = settings(USER.read_text())
    assert made.pop("ExecStart") == ["/nix/ccproxy/bin/ccproxy --api-key-file=%d/key"]
    assert made.pop("Environment") == [
        '"PATH=/coreutils/bin:/util-linux/bin"',
        '"CLAUDE_MODEL=sonnet"',
        '"HOST=127.0.0.1"',
        '"PORT=8080"',
    ]
    wanted.pop("ExecStart")
    # On NixOS the module's options are the settings.
    wanted.pop("EnvironmentFile")
    yes = {name: ["yes" if v == "true" else v for v in made[name]] for name in made}
    assert yes == wanted
    assert all(entry["assertion"] for entry in config["assertions"])


@needs_nix
def test_nixos_options() -> None:
    done = evaluate(
        '{ enable = true; package = "/nix/ccproxy"; model = "opus"; port = 9000; '
        'host = "::1"; keyFile = "/run/secrets/key"; claudeBin = "/bin/claude"; }'
    )
    config = json.loads(done.stdout)["config"]
    service = config["systemd"]["user"]["services"]["ccproxy"]
    assert service["environment"] == {
        "CLAUDE_MODEL": "opus",
        "HOST": "::1",
        "PORT": "9000",
        "CLAUDE_BIN": "/bin/claude",
    }
    variables = {option.variable for option in OPTIONS}
    assert set(service["environment"]) <= variables
    assert service["serviceConfig"]["LoadCredential"] == "key:/run/secrets/key"


@needs_nix
def test_nixos_defaults_are_ours() -> None:
    told = json.loads(evaluate('{ package = "/nix/ccproxy"; }').stdout)
    assert told["config"] == {}
    ours = {option.flag: option.default for option in OPTIONS}
    theirs = told["defaults"]
    assert str(theirs["port"]) == ours["port"]
    assert (theirs["host"], theirs["model"]) == (ours["host"], ours["model"])
    assert all(told["described"].values())


@needs_nix
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ('{ enable = true; package = "/p"; port = 70000; }', "port is no port"),
        ("{ enable = true; }", "package is not set"),
        ('{ enable = true; package = "/p"; colour = 1; }', "no such option: colour"),
    ],
)
def test_nixos_wrong_values(values: str, words: str) -> None:
    done = evaluate(values)
    assert done.returncode != 0
    assert words in done.stderr


@needs_nix
def test_nixos_key_in_the_store_is_refused() -> None:
    done = evaluate(
        '{ enable = true; package = "/p"; keyFile = "${builtins.storeDir}/k"; }'
    )
    [entry] = json.loads(done.stdout)["config"]["assertions"]
    assert not entry["assertion"]
    assert "every user can read" in entry["message"]


@needs_nix
@needs_systemd
def test_systemd_understands_the_nixos_unit(tmp_path: Path) -> None:
    done = evaluate('{ enable = true; package = "/nix"; }')
    config = json.loads(done.stdout)["config"]
    unit = as_unit(config["systemd"]["user"]["services"]["ccproxy"])
    verify(unit, tmp_path, "--user")


@needs_nix
def test_flake() -> None:
    """Its outputs, for a nixpkgs that only notes what it is asked for."""
    expression = """
      let
        flake = import FLAKE;
        packages = {
          buildPythonApplication = arguments: arguments;
          hatchling = "hatchling";
          twisted = { name = "twisted"; optional-dependencies.tls = [ "tls" ]; };
        } // builtins.listToAttrs (map (name: { inherit name; value = name; }) NAMES);
        nixpkgs.lib.genAttrs = names: make:
          builtins.listToAttrs (map (name: { inherit name; value = make name; }) names);
        nixpkgs.legacyPackages.x86_64-linux.python3Packages = packages;
        outputs = flake.outputs { self = "/source"; inherit nixpkgs; };
        package = outputs.packages.x86_64-linux.default;
        module = outputs.nixosModules.default {
          lib.mkDefault = value: value;
          pkgs = nixpkgs.legacyPackages.x86_64-linux;
        };
      in {
        inherit (package) pname version pyproject build-system;
        dependencies = map (d: d.name or d) package.dependencies;
        imports = map builtins.pathExists module.imports;
        same = module.services.ccproxy.package.pname;
      }
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[\[<>=]", name)[0] for name in project["dependencies"]}
    names = " ".join(f'"{name}"' for name in wanted - {"twisted"})
    expression = expression.replace("FLAKE", str(ROOT / "flake.nix"))
    expression = expression.replace("NAMES", f"[ {names} ]")
    done = subprocess.run(
        ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told.pop("dependencies")) == {*wanted, "tls"}
    assert told == {
        "pname": "ccproxy-server",
        "version": __version__,
        "pyproject": True,
        "build-system": ["hatchling"],
        "imports": [True],
        "same": "ccproxy-server",
    }


def test_launchd_agent() -> None:
    agent = plistlib.loads((CONTRIB / "launchd" / "local.ccproxy.plist").read_bytes())
    assert agent["Label"] == "local.ccproxy"
    assert agent["RunAtLoad"] is True
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["Umask"] == 0o077
    drain = Settings(api_keys=()).drain_timeout
    assert agent["ExitTimeOut"] >= drain + 15


@ensureDeferred
async def test_launchd_agents_command_serves(
    tmp_path: Path, start: Callable[..., Running], claude_bin: str
) -> None:
    agent = plistlib.loads((CONTRIB / "launchd" / "local.ccproxy.plist").read_bytes())
    for folder in (".local/bin", ".config/ccproxy", "Library/Logs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / ".local/bin/ccproxy").symlink_to(CCPROXY)
    (tmp_path / ".config/ccproxy/key").write_text("the-key\n")
    log = tmp_path / "Library" / "Logs" / "ccproxy.log"
    variables = {"PORT": "0", "CCPROXY_DEMO": "1", "CLAUDE_BIN": claude_bin}
    server = start(*agent["ProgramArguments"], **variables)
    url = await server.url(log.read_text)
    answer = await get(url, "/v1/models", authorization="Bearer the-key")
    assert b" 200 OK" in answer
    await server.stop()


def under_the_filter(*command: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program with the system calls that the system unit leaves it."""
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    return subprocess.run(
        [sys.executable, filtered.__file__, str(SYSTEM), *command],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@needs_systemd
@needs_seccomp
def test_the_real_cli_runs_with_the_system_calls_that_are_left(tmp_path: Path) -> None:
    command = (CCPROXY, "doctor", "--demo", "--ask", "-p", "0")
    done = under_the_filter(*command, tmp_path=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This is the ccproxy demo" in done.stdout


@needs_systemd
@needs_seccomp
def test_the_filter_of_the_tests_is_one(tmp_path: Path) -> None:
    program = "import os, socket\nfor call in (lambda: os.setuid(os.getuid()), "
    program += "lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)):\n"
    program += "    try: call()\n    except PermissionError: print('refused')\n"
    done = under_the_filter(sys.executable, "-c", program, tmp_path=tmp_path)
    assert done.stdout == "refused\nrefused\n"


def commands(section: str) -> list[str]:
    """The command blocks of a section of docs/service.md."""
    text = (ROOT / "docs" / "service.md").read_text()
    part = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", part, re.DOTALL)


def test_commands_of_the_docs_install_the_user_service(tmp_path: Path) -> None:
    install, start, socket, _, foreground = commands("systemd, by hand")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    for block in (install, socket):
        subprocess.run(["/bin/sh", "-eu", "-c", block], cwd=ROOT, env=env, check=True)
    key = tmp_path / ".config" / "ccproxy" / "key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert api_key(key.read_text().strip())
    units = tmp_path / ".config" / "systemd" / "user"
    assert {path.name for path in units.iterdir()} == {USER.name, SOCKET.name}
    more = settings((tmp_path / ".config" / "ccproxy" / "environment").read_text())
    assert set(more) <= {option.variable for option in OPTIONS}
    # What needs a running manager names nothing but these units.
    assert set(re.findall(r"ccproxy\S*", start)) == {"ccproxy"}
    assert "--fdname=ccproxy.socket" in foreground
