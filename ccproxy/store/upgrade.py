"""Migrates an older database to the current schema, with Alembic.

Alembic takes 11 MB of memory, so this module is imported only when it is needed.
"""

from collections.abc import Collection
from threading import Lock
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

# Alembic keeps the running migration in module globals, so only one may run at a time.
_ALEMBIC = Lock()


class NewerSchema(Exception):
    """A newer ccproxy has migrated the database; the message says what to do."""


def upgrade(connection: Connection, revision: str | None) -> None:
    """Run the missing migrations; blocks.

    Args:
        connection: in a transaction; the caller keeps other servers from migrating.
        revision: the revision of the database's schema; None: the database is empty.

    Raises:
        NewerSchema: this ccproxy does not know ``revision``.
    """
    config = _config()
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    if revision is not None and revision not in known_revisions():
        head = scripts.get_current_head()
        raise NewerSchema(
            f"the database was written by a newer ccproxy (schema {revision}, this one "
            f"knows {head}); update ccproxy, or use another --state-dir or "
            "--database-url"
        )

    def steps(revision: Any, _: object) -> Any:
        return scripts._upgrade_revs("head", revision)

    environment = EnvironmentContext(config, scripts, fn=steps, destination_rev="head")
    with _ALEMBIC, environment:
        scripts.run_env()


def known_revisions() -> Collection[str]:
    """All schema revisions that this ccproxy knows."""
    scripts = ScriptDirectory.from_config(_config())
    return {script.revision for script in scripts.walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "ccproxy.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
