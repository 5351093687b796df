"""Versions of the store's schema: each makes the next of the one before, rows kept, in SQLite and in PostgreSQL alike.

There is no environment script: a version runs inside the transaction of the `Store.write` that asks for it, so several
processes that start at once take turns, and one that dies halfway leaves the schema as it was.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from features.errors import ArtefactError

__all__ = ["HEAD", "VERSIONS_TABLE", "found_version", "migrate"]

HEAD = "0006"
"""The version that this code reads and writes; a test holds it against the folder `versions`."""

VERSIONS_TABLE = "store_version"  # not alembic's usual name: MLflow's own stands in a database that both share
_FOLDER = Path(__file__).parent
_COUNTED_BEFORE = 3
_COUNTED_SINCE = 4
_running = threading.Lock()  # alembic hands the connection to a version through a global


def found_version(connection: sa.Connection) -> str | None:
    """The version that a database is of; None for an empty one, or one from before versions.

    Raises:
        ArtefactError: it was written by a newer Holdfast.
    """
    if connection.dialect.name == "sqlite":
        counted = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
        if counted > _COUNTED_SINCE:
            raise _newer(str(counted))
        if counted <= _COUNTED_BEFORE:
            return None
    elif not sa.inspect(connection).has_table(VERSIONS_TABLE):
        return None
    found = connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSIONS_TABLE)))
    if found is not None and found > HEAD:
        raise _newer(found)
    return found


def migrate(connection: sa.Connection, version: str = HEAD) -> None:
    """Bring a database to a version, inside a `Store.write`.

    Raises:
        ArtefactError: there is no such version, or the database is of a newer one.
    """
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(_FOLDER), version_locations=[str(_FOLDER / "versions")])

    def steps(found: Any, _: object) -> Any:
        return script._upgrade_revs(version, found)  # noqa: SLF001 - alembic's own documentation calls it

    with _running, EnvironmentContext(Config(), script, fn=steps, destination_rev=version) as environment:
        environment.configure(connection=connection, version_table=VERSIONS_TABLE)
        environment.run_migrations()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {_COUNTED_SINCE}")  # a Holdfast from before refuses it


def _newer(found: str) -> ArtefactError:
    return ArtefactError(f"the store has schema {found}, this version knows {HEAD}; upgrade Holdfast first")
