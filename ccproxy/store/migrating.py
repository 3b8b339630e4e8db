"""Bringing an older database up to date, by Alembic.

Imported only when there is one: Alembic takes 11 MB of memory.
"""

from collections.abc import Collection
from threading import Lock
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

# Alembic's migrations find their connection through its modules: one at a time.
_ALEMBIC = Lock()


class NewerSchema(Exception):
    """The database was written by a ccproxy newer than this one; says what to do."""


def upgrade(connection: Connection, revision: str | None) -> None:
    """Run what is missing; blocks.

    Args:
        connection: within a transaction that nobody else migrates in.
        revision: what the database is of; None: of nothing, it is empty.

    Raises:
        NewerSchema: that is none of ours.
    """
    config = _config()
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    if revision is not None and revision not in known_revisions():
        head = scripts.get_current_head()
        raise NewerSchema(
            f"the database was written by a newer ccproxy (schema {revision}, this one "
            f"knows {head}); update it, or use another --state-dir or --database-url"
        )

    def steps(revision: Any, _: object) -> Any:
        return scripts._upgrade_revs("head", revision)

    environment = EnvironmentContext(config, scripts, fn=steps, destination_rev="head")
    with _ALEMBIC, environment:
        scripts.run_env()


def known_revisions() -> Collection[str]:
    """All schemas that there have been, up to this one's."""
    scripts = ScriptDirectory.from_config(_config())
    return {script.revision for script in scripts.walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "ccproxy.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
