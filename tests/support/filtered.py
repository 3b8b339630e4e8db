"""Runs a program with the system calls that a systemd unit allows.

``filtered.py UNIT PROGRAM [ARGUMENT …]``: a seccomp filter as systemd would make it of
``SystemCallFilter`` and ``RestrictAddressFamilies``, without a systemd that runs.
"""

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

_ALLOW, _EPERM = 0x7FFF0000, 0x00050001
_EQUAL = 4
_NO_NEW_PRIVILEGES = 38


class _Argument(ctypes.Structure):
    _fields_ = (
        ("number", ctypes.c_uint),
        ("comparison", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


def calls_of(word: str) -> set[str]:
    """A system call, or the calls of a group of systemd's."""
    if not word.startswith("@"):
        return {word}
    command = ["systemd-analyze", "syscall-filter", "--no-pager", word]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    members = [line.strip() for line in told.splitlines()[1:]]
    found: set[str] = set()
    for member in members:
        if member and not member.startswith("#"):
            found |= calls_of(member)
    return found


def allowed_by(unit: str) -> tuple[set[str], set[int]]:
    """The system calls and socket families that a unit allows."""
    calls = calls_of("@default")
    families: set[int] = set()
    for line in unit.splitlines():
        name, _, value = line.partition("=")
        if name == "SystemCallFilter":
            words = value.removeprefix("~").split()
            group = set().union(*(calls_of(word) for word in words))
            calls = calls - group if value.startswith("~") else calls | group
        elif name == "RestrictAddressFamilies":
            families |= {getattr(socket, word) for word in value.split()}
    return calls, families


def main() -> None:
    calls, families = allowed_by(Path(sys.argv[1]).read_text())
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(_EPERM))
    add = library.seccomp_rule_add_array
    for name in sorted(calls - {"socket"}):
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            add(rules, ctypes.c_uint32(_ALLOW), number, 0, None)
    number = library.seccomp_syscall_resolve_name(b"socket")
    for family in families:
        argument = _Argument(0, _EQUAL, family, 0)
        add(rules, ctypes.c_uint32(_ALLOW), number, 1, ctypes.byref(argument))
    ctypes.CDLL(None).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    assert library.seccomp_load(rules) == 0
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
