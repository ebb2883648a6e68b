"""The registry, twins, queues and enrollments on one SQLite database."""

from moorage.adapters.sqlite.store import MEMORY, SqliteStore
from moorage.adapters.sqlite.tables import AllTables

__all__ = ["MEMORY", "AllTables", "SqliteStore"]
