"""Checks of the state directory and the database; they block, and change nothing."""

import os
import sqlite3
import tempfile
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from ccproxy.cli.doctor.results import CheckResult, CheckStatus
from ccproxy.config.settings import Settings
from ccproxy.store.engine import DATABASE_FILE, check_private, sqlite_url
from ccproxy.store.inspection import inspect

_OTHERS = 0o077
_ELSEWHERE = "choose another directory with --state-dir"


def examine_state(settings: Settings) -> CheckResult:
    """Check that the state directory is writable, and closed to other users."""
    folder = settings.state_dir
    if settings.database_url is not None:
        return _state(CheckStatus.SKIPPED, "not needed with --database-url")
    if folder is None:
        return _state(
            CheckStatus.NOTE,
            "a temporary directory: stored data is deleted when the server stops",
        )
    try:
        if not folder.exists():
            return _to_be_made(folder)
        check_private(folder)
        with tempfile.TemporaryFile(dir=folder):
            mode = folder.stat().st_mode
    except PermissionError as error:
        if error.errno is None:  # raised by check_private, with a complete message
            return _state(CheckStatus.WRONG, str(error))
        message = f"{folder} cannot be written: {error.strerror}"
        return _state(
            CheckStatus.WRONG, message, f"give it to this user, or {_ELSEWHERE}"
        )
    except OSError as error:
        message = f"{folder} cannot be written: {error.strerror or error}"
        return _state(
            CheckStatus.WRONG, message, f"give it to this user, or {_ELSEWHERE}"
        )
    if mode & _OTHERS:
        message = f"{folder} is writable, but other users can read it"
        return _state(CheckStatus.NOTE, message, f"chmod 700 {folder}")
    return _state(CheckStatus.OK, f"{folder} is writable, and closed to other users")


def _to_be_made(folder: Path) -> CheckResult:
    base = next(parent for parent in folder.absolute().parents if parent.exists())
    if base.is_dir() and os.access(base, os.W_OK | os.X_OK):
        return _state(CheckStatus.OK, f"the first start will create {folder}")
    return _state(
        CheckStatus.WRONG,
        f"{folder} cannot be created: {base} is not writable",
        _ELSEWHERE,
    )


def _state(status: CheckStatus, message: str, remedy: str = "") -> CheckResult:
    return CheckResult(status, "state", message, remedy)


def examine_database(settings: Settings) -> CheckResult:
    """Check that the database is writable, and which version its schema has."""
    if settings.database_url is not None:
        url, remedy = settings.database_url, "see --database-url"
    elif settings.state_dir is not None:
        if examine_state(settings).status is CheckStatus.WRONG:
            return _database(
                CheckStatus.SKIPPED, "the directory of the database cannot be used"
            )
        path = settings.state_dir / DATABASE_FILE
        url, remedy = sqlite_url(path), f"move it away, or {_ELSEWHERE}"
    else:
        return _database(CheckStatus.SKIPPED, "every start creates a new database")
    try:
        found = inspect(url)
    except (SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        cause = getattr(error, "orig", None) or error
        return _database(CheckStatus.WRONG, f"cannot be used: {cause}", remedy)
    if not found.is_known:
        message = f"{found.name} was written by a newer ccproxy"
        remedy = (
            f"update this ccproxy: its schema is {found.newest}, and the database has "
            f"schema {found.schema}"
        )
        return _database(CheckStatus.WRONG, message, remedy)
    if found.schema is None:
        return _database(CheckStatus.OK, f"the first start will create {found.name}")
    if not found.is_current:
        message = f"the next start will update {found.name}"
        return _database(
            CheckStatus.OK, f"{message} ({found.schema} to {found.newest})"
        )
    return _database(
        CheckStatus.OK, f"{found.name} is writable and up to date ({found.schema})"
    )


def _database(status: CheckStatus, message: str, remedy: str = "") -> CheckResult:
    return CheckResult(status, "database", message, remedy)
