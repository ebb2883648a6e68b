"""What the service side keeps: one function a capability."""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for make in _PARTS:
        make()


def _jobs() -> None:
    text = ["kind", "work", "status", "runner"]
    maybe_text = ["condition", "device_ids", "failure_reason", "status_message", "frozen_up_to"]
    maybe_integer = ["started", "ended"]
    order = (
        "kind work condition device_ids created start max_execution_s status runner started ended failure_reason "
        "status_message is_frozen frozen_up_to devices succeeded failed running pending"
    )
    op.create_table(
        "jobs",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "job_id")),
        *(
            sa.Column(
                name,
                sa.Text if name in text + maybe_text else sa.Integer,
                nullable=name in maybe_text + maybe_integer,
            )
            for name in order.split()
        ),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )
    op.create_index("ix_jobs_created", "jobs", ["hub_id", "created", "job_id"])
    op.create_index(
        "ix_jobs_unfinished",
        "jobs",
        ["hub_id", "start", "created", "job_id", "status", "runner"],
        sqlite_where=sa.text("ended IS NULL"),
    )
    op.create_index("ix_jobs_ended", "jobs", ["hub_id", "ended"], sqlite_where=sa.text("ended IS NOT NULL"))
    op.create_table(
        "job_devices",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "job_id", "device_id")),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("updated", sa.Integer, nullable=False),
        sa.Column("started", sa.Integer),
        sa.Column("ended", sa.Integer),
        sa.Column("reply_status", sa.Integer),
        sa.Column("reply_payload", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("message", sa.Text),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index(
        "ix_job_devices_open",
        "job_devices",
        ["hub_id", "job_id", "status", "device_id"],
        sqlite_where=sa.text("ended IS NULL"),
    )
    op.create_index("ix_job_devices_device", "job_devices", ["hub_id", "device_id"])


_PARTS: tuple[Callable[[], None], ...] = (_jobs,)
