"""Connection state and last activity for queries; counting devices without reading them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    key = ["hub_id", "device_id", "module_id"]
    op.create_table(
        "activity",
        *(sa.Column(name, sa.Text, primary_key=True) for name in key),
        sa.Column("connected", sa.Integer),
        sa.Column("last_activity", sa.Integer),
        sa.Column("updated", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(key, [f"identities.{name}" for name in key], ondelete="CASCADE"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_identities_devices", "identities", ["hub_id", "status"], sqlite_where=sa.text("module_id = ''"))
