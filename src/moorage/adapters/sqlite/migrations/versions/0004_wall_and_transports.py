"""What revocation and the other transports keep: one function a capability."""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    for make in _PARTS:
        make()


def _notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("sequence", sa.Integer, primary_key=True),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("hub_id", "source", "operation", "device_id", "module_id")
        ),
        sa.Column("at", sa.Integer),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("correlation_id", "facts")),
        sqlite_strict=True,
    )


def _waivers() -> None:
    op.create_table(
        "waivers",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "name")),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )


def _revocation() -> None:
    def keys(*names: str) -> list[sa.Column[str]]:
        return [sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", *names)]

    op.create_table(
        "crl_issuers",
        *keys("issuer_id"),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("policy", "crl_url", "ocsp_url")),
        sa.Column("fetched", sa.Integer),
        sa.Column("failed", sa.Text),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("next_fetch", sa.Integer),
        sa.Column("etag", sa.Text),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "revocation_lists",
        *keys("list_id"),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("issuer_id", "slot", "kind", "number")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("this_update", "next_update", "entries")),
        sa.Column("signer", sa.LargeBinary, nullable=False),
        sa.Column("added", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "revocation_list_parts",
        *keys("list_id"),
        sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )
    op.create_table(
        "ocsp_revocations",
        *keys("issuer", "serial"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("date", sa.Integer, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("until", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )


def _file_uploads() -> None:
    texts = ("device_id", "blob_name", "signature")
    op.create_table(
        "file_uploads",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "correlation_id")),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("created", "expires")),
        *(sa.Column(name, sa.Integer) for name in ("size", "committed")),
        sa.Column("commit_id", sa.Text),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_file_uploads_signature", "file_uploads", ["hub_id", "signature"], unique=True)
    op.create_index("ix_file_uploads_device", "file_uploads", ["hub_id", "device_id"])
    op.create_index("ix_file_uploads_expires", "file_uploads", ["hub_id", "expires"])
    op.create_table(
        "file_notifications",
        sa.Column("hub_id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("device_id", "blob_uri", "blob_name")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("size", "updated", "recorded", "deliveries")),
        sa.Column("lock", sa.Text),
        sa.Column("locked_until", sa.Integer),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index(
        "ix_file_notifications_lock", "file_notifications", ["hub_id", "lock"], sqlite_where=sa.text("lock IS NOT NULL")
    )


def _routing() -> None:
    op.create_table(
        "routing",
        sa.Column("hub_id", sa.Text, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "routing_cursors",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "endpoint")),
        sa.Column("place", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "dead_letters",
        sa.Column("number", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("hub_id", "endpoint")),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("ix_dead_letters_endpoint", "dead_letters", ["hub_id", "endpoint"])


_PARTS: tuple[Callable[[], None], ...] = (_revocation, _notifications, _waivers, _file_uploads, _routing)
