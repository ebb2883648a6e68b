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
        ["hub_id", "start", "created", "job_id", "status", "runner", "ended"],
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
        ["hub_id", "job_id", "status", "device_id", "ended"],
        sqlite_where=sa.text("ended IS NULL"),
    )
    op.create_index("ix_job_devices_device", "job_devices", ["hub_id", "device_id"])


def _configurations() -> None:
    key = ["hub_id", "device_id", "module_id"]
    numbers = ("version", "priority", "created", "updated", "hears_reports")
    order = (
        "version schema_version content target_condition priority labels metrics created updated hears_reports"
    ).split()
    op.create_table(
        "configurations",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "id")),
        *(sa.Column(name, sa.Integer if name in numbers else sa.Text, nullable=False) for name in order),
        sqlite_with_rowid=True,
        sqlite_strict=True,
    )
    op.create_index("ix_configurations_hearing", "configurations", ["hub_id", "hears_reports"])
    op.create_table(
        "twin_configurations",
        *(sa.Column(name, sa.Text, primary_key=True) for name in (*key, "configuration_id")),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("holds", sa.Text, nullable=False),
        sa.Column("is_deployed", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(key, [f"identities.{name}" for name in key], ondelete="CASCADE"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index(
        "ix_twin_configurations_configuration",
        "twin_configurations",
        ["hub_id", "configuration_id", "device_id", "module_id", "status", "is_deployed"],
    )
    op.create_table(
        "configuration_marks",
        *(sa.Column(name, sa.Text, primary_key=True) for name in key),
        sa.ForeignKeyConstraint(key, [f"identities.{name}" for name in key], ondelete="CASCADE"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "configuration_work",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "configuration_id")),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("after_device", sa.Text),
        sa.Column("after_module", sa.Text),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    mark = (
        "INSERT INTO configuration_marks SELECT NEW.hub_id, NEW.device_id, NEW.module_id WHERE NOT EXISTS "
        "(SELECT 1 FROM configuration_marks WHERE hub_id = NEW.hub_id AND device_id = NEW.device_id "
        "AND module_id = NEW.module_id)"
    )
    some = "EXISTS (SELECT 1 FROM configurations WHERE hub_id = NEW.hub_id)"
    hearing = "EXISTS (SELECT 1 FROM configurations WHERE hub_id = NEW.hub_id AND hears_reports = 1)"
    identity_changed = "(NEW.status IS NOT OLD.status OR NEW.authentication IS NOT OLD.authentication)"
    twin_changed = (
        "(NEW.desired_version IS NOT OLD.desired_version OR NEW.tags IS NOT OLD.tags"
        " OR NEW.model_id IS NOT OLD.model_id)"
    )
    for name, event, condition in (
        ("mark_new_identity", "INSERT ON identities", some),
        ("mark_changed_identity", "UPDATE ON identities", f"{identity_changed} AND {some}"),
        ("mark_new_twin", "INSERT ON twins", some),
        ("mark_changed_twin", "UPDATE ON twins", f"{twin_changed} AND {some}"),
        ("mark_reporting_twin", "UPDATE ON twins", f"NEW.reported_version IS NOT OLD.reported_version AND {hearing}"),
    ):
        op.execute(sa.text(f"CREATE TRIGGER {name} AFTER {event} WHEN {condition} BEGIN {mark}; END"))
    mark_device = (
        "INSERT INTO configuration_marks SELECT hub_id, device_id, module_id FROM identities WHERE hub_id = OLD.hub_id "
        "AND device_id = OLD.device_id AND module_id = '' AND NOT EXISTS (SELECT 1 FROM configuration_marks "
        "WHERE hub_id = OLD.hub_id AND device_id = OLD.device_id AND module_id = '')"
    )
    some_old = "EXISTS (SELECT 1 FROM configurations WHERE hub_id = OLD.hub_id)"
    op.execute(
        sa.text(
            "CREATE TRIGGER mark_device_of_deleted_module AFTER DELETE ON identities "
            f"WHEN OLD.module_id != '' AND {some_old} BEGIN {mark_device}; END"
        )
    )


def _transfers() -> None:
    key = ("hub_id", "job_id")
    maybe = ("ended", "failure", "sealed")
    order = "kind status created ended input_blob output_blob with_keys progress failure checkpoint sealed"
    types = {name: sa.Integer for name in ("created", "ended", "with_keys", "progress")} | {"sealed": sa.LargeBinary}
    op.create_table(
        "transfers",
        *(sa.Column(name, sa.Text, primary_key=True) for name in key),
        *(sa.Column(name, types.get(name, sa.Text), nullable=name in maybe) for name in order.split()),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "refused_lines",
        *(sa.Column(name, sa.Text, primary_key=True) for name in key),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("waits", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )


def _consumer_groups() -> None:
    op.create_table(
        "consumer_groups",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "key")),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )


def _linked_hubs() -> None:
    order = "host_name sealed location weight applies_policy position created updated"
    types = {"host_name": sa.Text, "location": sa.Text, "sealed": sa.LargeBinary}
    op.create_table(
        "linked_hubs",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "key")),
        *(sa.Column(name, types.get(name, sa.Integer), nullable=name == "sealed") for name in order.split()),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.add_column("registrations", sa.Column("request_payload", sa.Text))


def _queries() -> None:
    op.create_index(
        "ix_identities_modules",
        "identities",
        ["hub_id", "module_id", "device_id"],
        sqlite_where=sa.text("module_id != ''"),
    )
    op.create_index("ix_identities_edge", "identities", ["hub_id"], sqlite_where=sa.text("is_edge = 1"))
    for column in ("primary_thumbprint", "secondary_thumbprint", "device_scope"):
        op.create_index(
            f"ix_identities_{column}", "identities", ["hub_id", column], sqlite_where=sa.text(f"{column} IS NOT NULL")
        )
    op.create_index(
        "ix_twins_model",
        "twins",
        ["hub_id", "model_id", "device_id", "module_id"],
        sqlite_where=sa.text("model_id IS NOT NULL"),
    )
    op.create_table(
        "tag_terms",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "path", "term", "device_id", "module_id")),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    insert = (
        "INSERT INTO tag_terms SELECT NEW.hub_id, value ->> 0, value ->> 1, NEW.device_id, NEW.module_id"
        " FROM json_each(tag_terms_of(NEW.tags))"
    )
    delete = (
        "DELETE FROM tag_terms WHERE hub_id = OLD.hub_id AND (path, term) IN"
        " (SELECT value ->> 0, value ->> 1 FROM json_each(tag_terms_of(OLD.tags)))"
        " AND device_id = OLD.device_id AND module_id = OLD.module_id"
    )
    for name, event, condition, statements in (
        ("index_tags", "INSERT", "NEW.tags != '{}'", (insert,)),
        ("index_changed_tags", "UPDATE OF tags", "NEW.tags IS NOT OLD.tags", (delete, insert)),
        ("forget_tags", "DELETE", "OLD.tags != '{}'", (delete,)),
    ):
        work = "; ".join(statements)
        op.execute(sa.text(f"CREATE TRIGGER {name} AFTER {event} ON twins WHEN {condition} BEGIN {work}; END"))
    op.execute(
        "INSERT INTO tag_terms SELECT hub_id, value ->> 0, value ->> 1, device_id, module_id"
        " FROM twins, json_each(tag_terms_of(tags))"
    )


def _device_counts() -> None:
    op.create_table(
        "device_counts",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("hub_id", "status")),
        sa.Column("devices", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    new = (
        "INSERT INTO device_counts VALUES (NEW.hub_id, NEW.status, 1)"
        " ON CONFLICT (hub_id, status) DO UPDATE SET devices = devices + 1"
    )
    old = "UPDATE device_counts SET devices = devices - 1 WHERE hub_id = OLD.hub_id AND status = OLD.status"
    changed = "NEW.module_id = '' AND NEW.status IS NOT OLD.status"
    for name, event, condition, statements in (
        ("count_new_device", "INSERT", "NEW.module_id = ''", (new,)),
        ("count_changed_device", "UPDATE OF status", changed, (old, new)),
        ("count_deleted_device", "DELETE", "OLD.module_id = ''", (old,)),
    ):
        work = "; ".join(statements)
        op.execute(sa.text(f"CREATE TRIGGER {name} AFTER {event} ON identities WHEN {condition} BEGIN {work}; END"))
    op.execute(
        "INSERT INTO device_counts SELECT hub_id, status, count(*) FROM identities WHERE module_id = ''"
        " GROUP BY hub_id, status"
    )


def _feedback() -> None:
    op.create_index("ix_messages_expires", "messages", ["hub_id", "expires"])
    op.create_table(
        "feedback",
        sa.Column("hub_id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("message_id", "device_id", "module_id")),
        sa.Column("generation_id", sa.Text, nullable=False),
        sa.Column("recorded", sa.Integer, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("lock", sa.Text),
        sa.Column("locked_until", sa.Integer),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_feedback_lock", "feedback", ["hub_id", "lock"], sqlite_where=sa.text("lock IS NOT NULL"))


_PARTS: tuple[Callable[[], None], ...] = (
    _jobs,
    _configurations,
    _transfers,
    _consumer_groups,
    _linked_hubs,
    _queries,
    _device_counts,
    _feedback,
)
