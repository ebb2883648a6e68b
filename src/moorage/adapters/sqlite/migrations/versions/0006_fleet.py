"""Devices as the application knows them, and what people make of them: one function a capability."""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for make in _PARTS:
        make()


def _group_names() -> None:
    op.add_column("enrollment_groups", sa.Column("display_name", sa.Text))


def _device_pages() -> None:
    key = ["hub_id", "device_id", "module_id"]
    numbers = ("is_queued", "started", "status", "ended")
    order = "component command request is_queued started by response status reason message ended".split()
    op.create_table(
        "command_runs",
        *(sa.Column(name, sa.Text, primary_key=True) for name in (*key, "run_id")),
        *(
            sa.Column(name, sa.Integer if name in numbers else sa.Text, nullable=name in ("status", "ended"))
            for name in order
        ),
        sa.ForeignKeyConstraint(key, [f"identities.{name}" for name in key], ondelete="CASCADE"),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )
    op.create_index("ix_command_runs_started", "command_runs", ["hub_id", "device_id", "started", "run_id"])
    op.create_table(
        "mapped_aliases",
        *(sa.Column(name, sa.Text, primary_key=True) for name in (*key, "alias")),
        sa.Column("path", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(key, [f"identities.{name}" for name in key], ondelete="CASCADE"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )


_PARTS: tuple[Callable[[], None], ...] = (_group_names, _device_pages)
