"""``ccproxy completion``: what shells complete; and the man page."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from ccproxy.cli.completion.command import SCRIPTS, script
from tests.packaging.conftest import Call

ROOT = Path(__file__).parent.parent.parent


def shell(*command: str, text: str = "", cwd: Path = ROOT) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_printed(call: Call, name: str) -> None:
    done = call("ccproxy", "completion", name)
    assert (done.returncode, done.stdout) == (0, script(name))


@pytest.mark.parametrize("arguments", [(), ("tcsh",), ("bash", "zsh")])
def test_other_shells_are_refused(call: Call, arguments: Sequence[str]) -> None:
    done = call("ccproxy", "completion", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("ccproxy completion: name one shell: bash, ")


CASES = {
    ("--keep-s",): ["--keep-size"],
    ("do",): ["doctor"],
    ("doctor", "--conf"): ["--conformance"],
    ("--log-format", ""): ["text", "json"],
    ("service", "install", "--log-format", "j"): ["json"],
    ("--model", "o"): ["opus"],
    ("usage", "--by", "m"): ["model"],
    ("service", "un"): ["uninstall"],
    ("service", "install", "--dry"): ["--dry-run"],
    ("service", "status", "--port"): [],
    ("completion", "z"): ["zsh"],
    ("--state-dir", "sub"): ["subfolder"],
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "subfolder").mkdir()
    (tmp_path / "subject").touch()
    lines = [script("bash"), "function=$(complete -p ccproxy)", "set -- $function"]
    # `complete -o bashdefault -F NAME ccproxy`
    lines.append("function=$5")
    for words in CASES:
        typed = " ".join(f"'{word}'" for word in ("ccproxy", *words))
        lines += [f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}", "$function"]
        lines.append('echo "${COMPREPLY[*]}"')
    told = shell("bash", "--norc", "-s", text="\n".join(lines), cwd=tmp_path)
    assert dict(zip(CASES, map(str.split, told.splitlines()), strict=True)) == CASES


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
def test_fish_completes(tmp_path: Path) -> None:
    (tmp_path / "subfolder").mkdir()
    lines = [script("fish")]
    for words in CASES:
        typed = " ".join(("ccproxy", *words))
        lines += [f'complete -C "{typed}"', "echo /"]
    folder = ("env", f"HOME={tmp_path}")
    told = shell(*folder, "fish", "--no-config", text="\n".join(lines), cwd=tmp_path)
    for wanted, answer in zip(CASES.values(), told.split("/\n")[:-1], strict=True):
        found = [line.split("\t")[0].removesuffix("/") for line in answer.splitlines()]
        assert sorted(found) == sorted(wanted), answer


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_its_script() -> None:
    path = ROOT / "ccproxy" / "cli" / "completion" / "scripts" / SCRIPTS["zsh"]
    shell("zsh", "-n", str(path))
    load = 'autoload -Uz compinit && compinit -D -u && eval "$(<$1)"'
    known = f"{load} && print $_comps[ccproxy]"
    assert shell("zsh", "-fc", known, "zsh", str(path)) == "_shtab_ccproxy\n"


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff")
def test_man_page_has_no_warnings() -> None:
    page = str(ROOT / "contrib" / "man" / "ccproxy.1")
    told = shell("groff", "-man", "-Tutf8", "-ww", "-z", page)
    assert told == ""
