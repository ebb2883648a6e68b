"""Devices as the application knows them, and what people make of them: one function a capability."""

from collections.abc import Callable
from typing import Any

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


def _devices() -> None:
    """A record for every device that there is: its name is its id, it is approved, it is in the root."""

    def keys(*names: str) -> list[sa.Column[str]]:
        return [sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", *names)]

    flags = ("is_simulated", "is_edge", "is_approved", "is_blocked", "is_provisioned")
    op.create_table(
        "devices",
        *keys("device_id"),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("display_name", "search", "template", "organization")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in flags),
        sa.Column("manifest", sa.Text, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("created", "version")),
        sa.Column(
            "state",
            sa.Text,
            sa.Computed(
                "CASE WHEN is_blocked = 1 THEN 'blocked' WHEN is_approved = 0 THEN 'waiting'"
                " WHEN is_provisioned = 1 THEN 'provisioned' ELSE 'registered' END",
                persisted=False,
            ),
        ),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_devices_kind", "devices", ["hub_id", "organization", "template", "state", "device_id"])
    op.create_index("ix_devices_simulated", "devices", ["hub_id"], sqlite_where=sa.text("is_simulated = 1"))
    op.create_table(
        "device_cloud_properties",
        *keys("device_id"),
        sa.Column("value", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["hub_id", "device_id"], ["devices.hub_id", "devices.device_id"], ondelete="CASCADE"),
        sqlite_strict=True,
    )
    op.create_table(
        "device_tallies",
        *keys("organization", "template", "state"),
        sa.Column("devices", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    columns = (
        "hub_id, device_id, display_name, search, template, organization, is_simulated, is_edge, is_approved,"
        " is_blocked, is_provisioned, manifest, created, version"
    )
    op.execute(
        f"INSERT INTO devices ({columns}) SELECT hub_id, device_id, device_id, lower(device_id), '', '', 0, is_edge, 1,"
        " status = 'disabled', 1, '', created, 1 FROM identities WHERE module_id = ''"
    )
    op.execute(
        "INSERT INTO device_tallies SELECT hub_id, organization, template, state, count(*) FROM devices GROUP BY"
        " hub_id, organization, template, state"
    )
    new = (
        "INSERT INTO device_tallies VALUES (NEW.hub_id, NEW.organization, NEW.template, NEW.state, 1)"
        " ON CONFLICT (hub_id, organization, template, state) DO UPDATE SET devices = devices + 1;"
    )
    kind = "hub_id = OLD.hub_id AND organization = OLD.organization AND template = OLD.template AND state = OLD.state"
    old = (
        f"UPDATE device_tallies SET devices = devices - 1 WHERE {kind};"
        f" DELETE FROM device_tallies WHERE {kind} AND devices = 0;"
    )
    op.execute(f"CREATE TRIGGER tally_new_device AFTER INSERT ON devices WHEN 1 BEGIN {new} END")
    op.execute(
        "CREATE TRIGGER tally_changed_device AFTER UPDATE ON devices WHEN NEW.organization != OLD.organization OR"
        f" NEW.template != OLD.template OR NEW.state != OLD.state BEGIN {old} {new} END"
    )
    op.execute(f"CREATE TRIGGER tally_deleted_device AFTER DELETE ON devices WHEN 1 BEGIN {old} END")
    is_blocked = (
        "EXISTS (SELECT 1 FROM devices WHERE hub_id = NEW.hub_id AND device_id = NEW.device_id AND is_blocked = 1)"
    )
    op.execute(
        "CREATE TRIGGER record_new_identity AFTER INSERT ON identities WHEN NEW.module_id = '' BEGIN"
        f" INSERT INTO devices ({columns}) VALUES (NEW.hub_id, NEW.device_id, NEW.device_id, lower(NEW.device_id), '',"
        " '', 0, NEW.is_edge, 1, NEW.status = 'disabled', 1, '', NEW.created, 1)"
        " ON CONFLICT (hub_id, device_id) DO UPDATE SET is_edge = excluded.is_edge, is_approved = 1,"
        " is_blocked = max(is_blocked, excluded.is_blocked), is_provisioned = 1;"
        f" INSERT INTO device_counts SELECT NEW.hub_id, NEW.status, 0 WHERE {is_blocked} ON CONFLICT DO NOTHING;"
        " UPDATE identities SET status = 'disabled', status_reason = 'blocked' WHERE hub_id = NEW.hub_id AND"
        f" device_id = NEW.device_id AND module_id = '' AND status = 'enabled' AND {is_blocked}; END"
    )
    op.execute(
        "CREATE TRIGGER record_changed_identity AFTER UPDATE OF status ON identities WHEN NEW.module_id = '' AND"
        " NEW.status != OLD.status BEGIN UPDATE devices SET is_blocked = (NEW.status = 'disabled')"
        " WHERE hub_id = NEW.hub_id AND device_id = NEW.device_id; END"
    )
    op.execute(
        "CREATE TRIGGER forget_record_of_identity AFTER DELETE ON identities WHEN OLD.module_id = '' BEGIN"
        " DELETE FROM devices WHERE hub_id = OLD.hub_id AND device_id = OLD.device_id; END"
    )


def _people() -> None:
    """Roles, organisations and tokens; users know their role by its id from now on (contract/central.md USR-3)."""

    def table(name: str, keys: tuple[str, ...], texts: tuple[str, ...], numbers: tuple[str, ...]) -> None:
        columns: list[sa.Column[Any]] = [
            *(sa.Column(key, sa.Text, primary_key=True) for key in ("hub_id", *keys)),
            *(sa.Column(text, sa.Text, nullable=False) for text in texts),
            *(sa.Column(number, sa.Integer, nullable=False) for number in numbers),
        ]
        op.create_table(name, *columns, sqlite_with_rowid=False, sqlite_strict=True)

    for column in ("organization", "subject"):
        op.add_column("users", sa.Column(column, sa.Text, nullable=False, server_default=""))
    op.execute(
        "UPDATE users SET role = CASE role WHEN 'administrator' THEN 'ca310b8d-2f4a-44e0-a36e-957c202cd8d4'"
        " WHEN 'builder' THEN '344138e9-8de4-4497-8c54-5237e96d6aaf' ELSE 'ae2c9854-393b-4f97-8c42-479d70ce626e' END"
    )
    table("roles", ("role_id",), ("display_name", "kind", "permissions", "description"), ("version",))
    table("organizations", ("organization_id",), ("display_name", "parent"), ("version",))
    table("api_tokens", ("token_id",), ("role", "organization", "digest", "created_by"), ("created", "expires"))


def _automation() -> None:
    def table(name: str, keys: list[str], texts: list[str], numbers: list[str], *more: sa.Column[Any]) -> None:
        op.create_table(
            name,
            *(sa.Column(key, sa.Text, primary_key=True) for key in ("hub_id", *keys)),
            *(sa.Column(text, sa.Text, nullable=False) for text in texts),
            *(sa.Column(number, sa.Integer, nullable=False) for number in numbers),
            *more,
            sqlite_with_rowid=False,
            sqlite_strict=True,
        )

    for name, key in (
        ("rules", "rule_id"),
        ("data_exports", "export_id"),
        ("export_destinations", "destination_id"),
        ("edge_manifests", "manifest_id"),
    ):
        table(name, [key], ["organization", "document"], [], sa.Column("sealed", sa.LargeBinary))
    op.create_table(
        "rule_events",
        sa.Column("number", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("hub_id", "rule_id")),
        sa.Column("at", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "device_id", "text")),
        sa.Column("count", sa.Integer, nullable=False),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )
    op.create_index("ix_rule_events_rule", "rule_events", ["hub_id", "rule_id"])
    table("rule_silences", ["rule_id", "device_id"], [], ["at"])
    table("log_readers", ["reader"], [], ["place"])
    op.create_table(
        "export_events",
        sa.Column("number", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("hub_id", "source")),
        sa.Column("at", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("device_id", "facts")),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "device_jobs",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "job_id")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("organization", "schedule_id", "status")),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("ended", sa.Integer),
        sa.Column("document", sa.Text, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_device_jobs_created", "device_jobs", ["hub_id", "created", "job_id"])
    op.create_index("ix_device_jobs_ended", "device_jobs", ["hub_id", "ended"])
    op.create_table(
        "device_job_rows",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "job_id", "device_id")),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("updated", sa.Integer, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("reason", "message")),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_device_job_rows_open", "device_job_rows", ["hub_id", "job_id", "outcome", "batch"])
    table("scheduled_jobs", ["schedule_id"], ["organization", "document"], [])


def _templates() -> None:
    texts, numbers = ("display_name", "model_id", "published_model"), ("created", "updated", "version")
    op.create_table(
        "device_templates",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "template_id")),
        *(sa.Column(name, sa.Text, nullable=False) for name in texts),
        *(sa.Column(name, sa.Integer, nullable=False) for name in numbers),
        *(sa.Column(name, sa.Text) for name in ("published", "draft")),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )
    op.create_index("ix_device_templates_model", "device_templates", ["hub_id", "published_model"])


def _analytics() -> None:
    """Device groups, saved queries of the data explorer, dashboards and their pictures."""

    def table(name: str, key: str, texts: tuple[str, ...]) -> None:
        op.create_table(
            name,
            *(sa.Column(each, sa.Text, primary_key=True) for each in ("hub_id", key)),
            *(sa.Column(each, sa.Text, nullable=False) for each in texts),
            *(sa.Column(each, sa.Integer, nullable=False) for each in ("created", "version")),
            sqlite_with_rowid=False,
            sqlite_strict=True,
        )

    table("device_groups", "group_id", ("display_name", "description", "query", "organization"))
    board = ("display_name", "owner", "organization", "document")
    table("explorer_queries", "query_id", board)
    table("dashboards", "dashboard_id", board)
    op.create_table(
        "dashboard_images",
        *(sa.Column(each, sa.Text, primary_key=True) for each in ("hub_id", "image_id")),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )


def _sightings() -> None:
    key = ["hub_id", "device_id", "module_id"]
    numbers = ("not_before", "not_after", "first_seen", "last_seen")
    order = "thumbprint subject issuer not_before not_after path_id first_seen last_seen previous".split()
    op.create_table(
        "certificate_sightings",
        *(sa.Column(name, sa.Text, primary_key=True) for name in key),
        *(sa.Column(name, sa.Integer if name in numbers else sa.Text, nullable=False) for name in order),
        sa.ForeignKeyConstraint(key, [f"identities.{name}" for name in key], ondelete="CASCADE"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_certificate_sightings_end", "certificate_sightings", ["hub_id", "not_after"])
    op.create_index("ix_certificate_sightings_path", "certificate_sightings", ["hub_id", "path_id", "not_after"])
    op.create_table(
        "certificate_paths",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "path_id")),
        *(sa.Column(name, sa.LargeBinary, nullable=False) for name in ("certificates", "sample")),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )


_PARTS: tuple[Callable[[], None], ...] = (
    _group_names,
    _device_pages,
    _devices,
    _people,
    _automation,
    _templates,
    _analytics,
    _sightings,
)
