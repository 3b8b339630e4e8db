"""The state folder is private; many ids are looked up at once."""

import os
import stat
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor

from ccproxy.core.errors import StorageFailed
from ccproxy.store.engine import make_private, sqlite_url
from ccproxy.store.records import Conversation, Item
from ccproxy.store.store import Store
from tests.conftest import ExpectedErrors
from tests.support.log_texts import DATABASE_FAILED

pytestmark = pytest.mark.threads


def store_in(folder: Path) -> Store:
    return Store(
        url=lambda: sqlite_url(folder / "responses.sqlite"),
        reactor=reactor,
        wall_seconds=lambda: 1700000000.0,
        keep_time=None,
        keep_size=None,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@ensureDeferred
async def test_folder_and_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "ccproxy"
    store = store_in(folder)
    await store.start()
    await store.conversations.create(Conversation("conv_1", 1, b"{}"), [])
    assert mode(folder) == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} > {"responses.sqlite", "responses.sqlite.lock"}
    assert {mode(path) for path in files} == {0o600}
    await store.stop()


@ensureDeferred
async def test_files_that_others_could_read_become_private(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("responses.sqlite", "responses.sqlite.lock"):
        (tmp_path / name).touch(mode=0o666)
        (tmp_path / name).chmod(0o666)
    store = store_in(tmp_path)
    await store.start()
    for name in ("responses.sqlite", "responses.sqlite.lock"):
        assert mode(tmp_path / name) == 0o600
    await store.stop()


@pytest.mark.parametrize("bits", [0o777, 0o770, 0o702, 0o1777])
@ensureDeferred
async def test_folder_that_others_can_write_to_is_refused(
    tmp_path: Path, bits: int, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow("other users can write to")
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(bits)
    store = store_in(folder)
    with pytest.raises(StorageFailed):
        await store.start()
    assert list(folder.iterdir()) == []
    # It is mended without a new start.
    folder.chmod(0o700)
    assert await store.conversations.get("conv_1") is None
    await store.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(PermissionError, match="another user"):
        make_private(folder)


@ensureDeferred
async def test_link_in_place_of_the_database_is_not_followed(
    tmp_path: Path, expected_errors: ExpectedErrors
) -> None:
    expected_errors.allow(DATABASE_FAILED)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    (folder / "responses.sqlite").symlink_to(victim)
    store = store_in(folder)
    with pytest.raises(StorageFailed):
        await store.start()
    assert victim.read_text() == "mine"
    await store.stop()


@ensureDeferred
async def test_70000_references_are_looked_up(tmp_path: Path) -> None:
    """SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535."""
    store = store_in(tmp_path)
    items = [Item("msg_0", b"{}"), Item("msg_69999", b"[]")]
    await store.conversations.create(Conversation("conv_1", 1, b"{}"), items)
    found = await store.responses.items(f"msg_{number}" for number in range(70_000))
    assert dict(found) == {"msg_0": b"{}", "msg_69999": b"[]"}
    await store.stop()
