"""What goes on for somebody: acts on many devices are kept, and what is theirs is bound to them, not to their name."""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    for make in _PARTS:
        make()


def _operations() -> None:
    def table(name: str, *columns: sa.Column[Any], with_rowid: bool = False) -> None:
        keys = (sa.Column(each, sa.Text, primary_key=True) for each in ("hub_id", "operation_id"))
        op.create_table(name, *keys, *columns, sqlite_with_rowid=with_rowid, sqlite_strict=True)

    def text(name: str) -> sa.Column[str]:
        return sa.Column(name, sa.Text, nullable=False)

    def number() -> sa.Column[int]:
        return sa.Column("number", sa.Integer, primary_key=True)

    table(
        "device_operations",
        text("maker"),
        sa.Column("started", sa.Integer, nullable=False),
        sa.Column("ended", sa.Integer),
        text("document"),
    )
    table("device_operation_batches", number(), text("items"), with_rowid=True)
    table("device_operation_errors", number(), text("item"), text("reason"), text("message"))


def _keys() -> None:
    """Boards, jobs and schedules knew their makers by names: `user:ada`, `token:ci`; calendars by the user's id."""
    connection = op.get_bind()
    keys: dict[tuple[str, str], str] = {}
    for hub, user_id, login, created in connection.execute(
        sa.text("SELECT hub_id, user_id, login, created FROM users")
    ).fetchall():
        keys[hub, f"user:{login}"] = f"user:{user_id}:{created}"
        connection.execute(
            sa.text("UPDATE settings SET key = :now WHERE hub_id = :hub AND key = :was"),
            {"hub": hub, "was": f"calendar.{user_id}", "now": f"calendar.user:{user_id}:{created}"},
        )
    for hub, token_id, created in connection.execute(
        sa.text("SELECT hub_id, token_id, created FROM api_tokens")
    ).fetchall():
        keys[hub, f"token:{token_id}"] = f"token:{token_id}:{created}"
    for board in ("explorer_queries", "dashboards"):
        # Those of somebody who is gone are nobody's.
        for hub, owner in connection.execute(
            sa.text(f"SELECT DISTINCT hub_id, owner FROM {board} WHERE owner NOT IN ('', 'owner')")
        ).fetchall():
            of_them = {"hub": hub, "owner": owner, "key": keys.get((hub, owner))}
            statement = f"UPDATE {board} SET owner = :key WHERE hub_id = :hub AND owner = :owner"
            if of_them["key"] is None:
                statement = f"DELETE FROM {board} WHERE hub_id = :hub AND owner = :owner"
                del of_them["key"]
            connection.execute(sa.text(statement), of_them)
    for table, key in (("device_jobs", "job_id"), ("scheduled_jobs", "schedule_id")):
        for hub, name, document in connection.execute(
            sa.text(f"SELECT hub_id, {key}, document FROM {table}")
        ).fetchall():
            job = json.loads(document)
            maker = {"$": "Maker", "key": keys.get((hub, job["by"]), job["by"]), "name": job["by"]}
            connection.execute(
                sa.text(f"UPDATE {table} SET document = :document WHERE hub_id = :hub AND {key} = :name"),
                {"document": json.dumps({**job, "acts_for": maker}), "hub": hub, "name": name},
            )


def _awaited() -> None:
    """Desired properties of devices that have not registered yet."""
    op.create_table(
        "awaited_properties",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "device_id")),
        sa.Column("desired", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("version", "updated")),
        sa.ForeignKeyConstraint(["hub_id", "device_id"], ["devices.hub_id", "devices.device_id"], ondelete="CASCADE"),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )


_PARTS: tuple[Callable[[], None], ...] = (_operations, _keys, _awaited)
