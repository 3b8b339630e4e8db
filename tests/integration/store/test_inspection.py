"""Inspections of a database change nothing in it."""

import sqlite3
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from sqlalchemy.exc import SQLAlchemyError

from ccproxy.store.engine import sqlite_url
from ccproxy.store.inspection import inspect
from ccproxy.store.schema import REVISION
from tests.integration.store.conftest import Stores
from tests.support.schema import note_schema

pytestmark = pytest.mark.threads


def test_an_empty_database_stays_empty(stores: Stores) -> None:
    for _ in range(2):
        found = inspect(stores.url)
        assert (found.schema, found.is_current) == (None, False)
    if stores.path is not None:
        assert not stores.path.exists()


@ensureDeferred
async def test_a_database_in_use_can_be_inspected(stores: Stores) -> None:
    await stores.start()
    found = inspect(stores.url)
    assert (found.schema, found.is_known, found.is_current) == (REVISION, True, True)


@ensureDeferred
async def test_the_schema_of_a_newer_ccproxy_is_unknown(stores: Stores) -> None:
    await (await stores.start()).stop()
    note_schema(stores.url, "9999")
    found = inspect(stores.url)
    assert (found.schema, found.is_known, found.is_current) == ("9999", False, False)


def test_an_error_has_no_password() -> None:
    with pytest.raises(SQLAlchemyError) as caught:
        inspect("postgresql+psycopg://me:hidden@127.0.0.1:1/none")
    assert "hidden" not in str(caught.value)


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("certainly no database, and longer than its header" * 9)
    with pytest.raises((SQLAlchemyError, sqlite3.Error)):
        inspect(sqlite_url(path))
