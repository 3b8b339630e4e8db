"""Boots a Debian with a systemd of its own, in namespaces that reach nothing outside.

The processes have ids that own nothing on this machine. They have a root directory,
``/tmp``, devices, network, cgroup and process ids of their own. The image is never
written: an overlay has the changes of one boot.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd"),
    *("python3", "python3-venv", "procps"),
)
_SUITE = "bookworm"
_KILL_SECONDS = 60
# The ids of the container on this machine: 500000 is its root.
_FIRST_ID = 500_000
_IDS = 65_536
_JOB = """\
[Unit]
After=multi-user.target systemd-user-sessions.service systemd-logind.service

[Service]
Type=oneshot
ExecStart=/usr/bin/python3 -u /job/guest.py
ExecStopPost=/bin/sh -c 'echo $EXIT_STATUS >/job/status; systemctl poweroff --force'
StandardOutput=file:/job/output
StandardError=inherit
TimeoutStartSec=30min

[Install]
WantedBy=multi-user.target
"""
# Run as root of the new namespaces. $1: the image; $2: the folder of this boot.
_ENTER = r"""
set -eu
root=$2/merged
layers="lowerdir=$1,upperdir=$2/upper,workdir=$2/work"
mount -t overlay overlay -o "$layers,userxattr" "$root"
mount -t proc proc "$root/proc"
# systemd must not set parameters of this machine's kernel.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty; do
  : >"$root/dev/$name"
  mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s null "$root/dev/console"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
hostname guest
cd "$root"
mkdir -p .old
pivot_root . .old
cd /
umount -l /.old
# systemd passes credentials to services through shared mounts.
mount --make-rshared /
exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
"""


def make_image(image: Path) -> None:
    """Make the Debian with debootstrap, if it is not there yet; takes minutes."""
    if image.exists():
        return
    making = image.with_name("making")
    shutil.rmtree(making, ignore_errors=True)
    names = ",".join(_PACKAGES)
    # debootstrap mounts /proc, which must not stay.
    subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "--pid", "--fork"),
            *("debootstrap", "--variant=minbase", f"--include={names}"),
            *(_SUITE, str(making)),
        ],
        check=True,
    )
    give_away(making)
    making.rename(image)


def give_away(folder: Path) -> None:
    """Give a folder with all that is in it to the ids of the container."""
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        if status.st_uid < _FIRST_ID:
            owner, group = status.st_uid + _FIRST_ID, status.st_gid + _FIRST_ID
            os.chown(path, owner, group, follow_symlinks=False)
            if not path.is_symlink():
                path.chmod(status.st_mode & 0o7777)  # chown has removed setuid


def boot(image: Path, folder: Path, job: Path) -> int:
    """Boot the image, and run the job's ``guest.py`` as its root.

    Args:
        image: made by `make_image`.
        folder: gets the changes; an older one is removed.
        job: the folder that becomes ``/job``.

    Returns:
        The exit status of ``guest.py``, whose output is in ``upper/job/output``.
    """
    shutil.rmtree(folder, ignore_errors=True)
    upper = folder / "upper"
    units = upper / "etc" / "systemd" / "system"
    wanted = units / "multi-user.target.wants"
    for path in (folder / "merged", folder / "work", wanted):
        path.mkdir(parents=True)
    # Its journal is kept in the folder.
    (upper / "var" / "log" / "journal").mkdir(parents=True)
    shutil.copytree(job, upper / "job")
    (units / "job.service").write_text(_JOB)
    (wanted / "job.service").symlink_to("../job.service")
    # There is no console to log in on.
    (units / "console-getty.service").symlink_to("/dev/null")
    give_away(folder)
    with _user_namespace() as holder, _cgroup() as cgroup:
        # A shell enters the cgroup first, and then becomes the container.
        script = 'echo 0 >"$1/cgroup.procs"; shift; exec "$@"'
        subprocess.run(
            [
                *("/bin/sh", "-c", script, "sh", str(cgroup)),
                *("nsenter", f"--user=/proc/{holder}/ns/user"),
                *("--setuid", "0", "--setgid", "0", "--"),
                *("unshare", "--mount", "--propagation", "private", "--pid", "--fork"),
                *("--kill-child", "--uts", "--ipc", "--net", "--cgroup"),
                *("/bin/sh", "-c", _ENTER, "sh", str(image), str(folder)),
            ],
            stdin=subprocess.DEVNULL,
            # A system that is powered off ends with a signal.
            check=False,
        )
    status = upper / "job" / "status"
    assert status.exists(), f"the system did not come to its end; see {upper}/var/log"
    return int(status.read_text())


@contextmanager
def _user_namespace() -> Iterator[int]:
    """A process in a user namespace with the ids of the container."""
    # `cat` ends when its input ends.
    holder = subprocess.Popen(
        ["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        # `cat` answers when it has its namespace.
        holder.stdin.write(b"\n")
        holder.stdin.flush()
        holder.stdout.read(1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text(f"0 {_FIRST_ID} {_IDS}\n")
        yield holder.pid
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()


@contextmanager
def _cgroup() -> Iterator[Path]:
    """A cgroup of the container's; it is removed with all that is in it."""
    base = Path("/sys/fs/cgroup")
    unified = base / "unified"  # beside the cgroups of version 1
    folder = (unified if unified.exists() else base) / f"ccproxy-boot-{os.getpid()}"
    folder.mkdir()
    try:
        for path in (
            folder,
            *(
                folder / f"cgroup.{name}"
                for name in ("procs", "threads", "subtree_control")
            ),
        ):
            os.chown(path, _FIRST_ID, _FIRST_ID)
        yield folder
    finally:
        (folder / "cgroup.kill").write_text("1")
        limit = time.monotonic() + _KILL_SECONDS
        while "populated 1" in (folder / "cgroup.events").read_text():
            assert time.monotonic() < limit, f"processes in {folder} do not end"
            time.sleep(0.1)
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.is_dir():
                path.rmdir()
        folder.rmdir()
