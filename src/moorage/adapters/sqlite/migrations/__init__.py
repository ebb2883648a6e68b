"""Brings an older database up to date with Alembic. Imported only when there is one: Alembic is slow to import.

All steps and the new version are one transaction: a crash leaves the old database as it was.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.pool import NullPool

from moorage.adapters.sqlite import terms

__all__ = ["upgrade"]


def upgrade(path: Path, revision: str = "head") -> None:
    """Run the migrations that the database at `path` has not seen, up to `revision`."""
    # The driver leaves transactions to us, so that the definitions are in one too.
    engine = create_engine("sqlite://", creator=lambda: _connect(path), poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        # Steps that rebuild a table run with foreign keys off, so look once at what they left.
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise RuntimeError(f"the migration would leave rows without their parents: {broken[:5]}")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    terms.register(connection)
    return connection
