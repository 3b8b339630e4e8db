"""Both ways of installation provide the plugin and the commands."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("editable", [False, True])
def test_install_in_a_fresh_environment(tmp_path: Path, editable: bool) -> None:
    """What it depends on is lent by this environment; only ccproxy is installed."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    lent = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    # Behind the environment's own folder, and without this checkout's editable
    # install, which is a .pth file and so is not followed from here.
    here = next(p for p in sys.path if p.endswith("site-packages"))
    (lent / "lent.pth").write_text(here + "\n")
    source = tmp_path / "source"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(source)], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--ignore-installed"]
    command += ["--editable", str(source)] if editable else [str(source)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr

    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    where = run(str(python), "-c", "import ccproxy; print(ccproxy.__file__)").strip()
    assert where.startswith(str(source if editable else lent))
    listed = run(str(python), "-m", "twisted", "--help")
    assert " ccproxy " in listed
    for name in ("ccproxy", "claude-code-proxy"):
        assert "--api-key" in run(str(folder / "bin" / name), "--help")
    typed = Path(where).with_name("py.typed")
    assert typed.exists()
    if not editable:
        data = ("share/man/man1/ccproxy.1", "share/zsh/site-functions/_ccproxy")
        assert all((folder / path).exists() for path in data)
    # What is no module is there, too.
    page = typed.parent / "api" / "admin" / "dashboard_page"
    assert {"page.html", "app.js", "style.css", "icon.svg"} == {
        path.name for path in page.iterdir()
    }
