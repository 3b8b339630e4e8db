"""Runs all benchmarks but the soak: ``python -m benchmarks``, about ten minutes."""

import subprocess
import sys

_ALL = (
    ("first_token",),
    ("first_token", "--growth", "--rounds", "7"),
    ("load",),
    ("throughput",),
    ("streams",),
    ("storing",),
)


def main() -> None:
    for name, *flags in _ALL:
        print(f"\n## {' '.join((name, *flags))}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *flags], check=True)


if __name__ == "__main__":
    main()
