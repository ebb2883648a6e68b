"""SQL text, made once at import from SQLAlchemy Core, so that the schema checks it and no look-up builds anything.

The text goes to the driver as it is; the driver keeps the prepared statement of every text it has seen.
"""

from __future__ import annotations

from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.sql.compiler import SQLCompiler

from moorage.adapters.sqlite.schema import DIALECT

__all__ = ["compile_sql", "delete_by", "insert_into", "limited", "parameter", "select_by", "upsert"]


def compile_sql(statement: sa.ClauseElement, *parameters: str) -> str:
    """SQL with a `?` for each of `parameters`, in that order."""
    compiled = cast(SQLCompiler, statement.compile(dialect=DIALECT))
    order = tuple(compiled.positiontup or ())
    if order != parameters:
        raise ValueError(f"the statement takes {order}, not {parameters}: {compiled}")
    return str(compiled)


def parameter(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(name)


def limited(statement: sa.Select[Any]) -> sa.Select[Any]:
    """`statement` with a last parameter, `limit`."""
    return statement.limit(sa.bindparam("limit")).offset(sa.literal_column("0"))


def insert_into(table: sa.Table) -> str:
    """Insert a row given in the order of the table's columns."""
    return compile_sql(insert(table), *table.c.keys())


def upsert(table: sa.Table) -> str:
    """Insert a row given in the order of the table's columns, or update the one with its key.

    Never INSERT OR REPLACE: that deletes the old row first, and with it all that hangs on it.
    """
    new = insert(table)
    keys = [column.name for column in table.primary_key]
    values = {column.name: new.excluded[column.name] for column in table.c if column.name not in keys}
    return compile_sql(new.on_conflict_do_update(index_elements=keys, set_=values), *table.c.keys())


def select_by(table: sa.Table, columns: list[sa.Column[Any]], *keys: str) -> str:
    """The rows whose `keys` equal the parameters."""
    return compile_sql(sa.select(*columns).where(*(table.c[key] == parameter(key) for key in keys)), *keys)


def delete_by(table: sa.Table, *keys: str) -> str:
    return compile_sql(sa.delete(table).where(*(table.c[key] == parameter(key) for key in keys)), *keys)
