"""Words in which tables are written down: columns by what they hold, and the one metadata that all tables are in."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

__all__ = ["METADATA", "integer", "key", "maybe_blob", "maybe_integer", "maybe_text", "of_an_identity", "table", "text"]

METADATA = sa.MetaData()


def key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def maybe_text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text)


def maybe_integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer)


def maybe_blob(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary)


def table(name: str, *parts: sa.Column[Any] | sa.Constraint, with_rowid: bool = False) -> sa.Table:
    return sa.Table(name, METADATA, *parts, sqlite_with_rowid=with_rowid, sqlite_strict=True)


def of_an_identity() -> sa.ForeignKeyConstraint:
    """What hangs on an identity goes with it, so that a new device of the same name inherits nothing."""
    columns = ["hub_id", "device_id", "module_id"]
    return sa.ForeignKeyConstraint(columns, [f"identities.{column}" for column in columns], ondelete="CASCADE")
