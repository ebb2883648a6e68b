"""What the application keeps: one function a capability."""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for make in _PARTS:
        make()


def _accounts() -> None:
    def keys(*names: str) -> list[sa.Column[str]]:
        return [sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", *names)]

    op.create_table(
        "users",
        *keys("user_id"),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("login", "role", "password")),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("signed_in", sa.Integer),
        sa.Column("is_disabled", sa.Integer, nullable=False),
        sa.UniqueConstraint("hub_id", "login", name="uq_users_login"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "web_sessions",
        *keys("digest"),
        sa.Column("user_id", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("created", "seen")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("address", "agent")),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "sign_in_links",
        *keys("digest"),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("expires", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )


def _uploads() -> None:
    op.add_column("file_uploads", sa.Column("begun_by", sa.Text))


_PARTS: tuple[Callable[[], None], ...] = (_accounts, _uploads)
