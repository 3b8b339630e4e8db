"""Changes the schema's revision that a database notes."""

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url


def note_schema(url: str, revision: str) -> None:
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        change = text("UPDATE alembic_version SET version_num = :revision")
        connection.execute(change, {"revision": revision})
    engine.dispose()
