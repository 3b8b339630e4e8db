"""Runs the services under a systemd that was booted for them: ``python -m tests.boot``.

The argument is a folder, in which the command keeps the Debian that it makes with
debootstrap. The command needs root, debootstrap and the claude CLI, and the same Python
as that Debian. The system boots in its own namespaces, and cannot reach this machine.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from ccproxy.claude.process.binary import find_claude
from tests.boot.container import boot, make_image
from tests.support.docs import ROOT


def main(folder: Path) -> int:
    """Make what is needed, boot, and print what was found."""
    folder.mkdir(parents=True, exist_ok=True)
    image = folder / "image"
    make_image(image)
    job = folder / "job"
    shutil.rmtree(job, ignore_errors=True)
    shutil.copytree(ROOT / "contrib", job / "contrib")
    shutil.copy(Path(__file__).with_name("guest.py"), job)
    shutil.copy(_claude(), job / "claude")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir"]
    subprocess.run([*pip, str(job / "wheels"), str(ROOT)], check=True)
    status = boot(image, folder / "boot", job)
    print((folder / "boot" / "upper" / "job" / "output").read_text(), end="")
    print(f"its journal: journalctl -D {folder}/boot/upper/var/log/journal")
    return status


def _claude() -> Path:
    """The real CLI, or another that the variable names."""
    named = os.environ.get("CCPROXY_TEST_CLAUDE")
    return find_claude(Path(named) if named else None, os.environ.get("PATH"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
