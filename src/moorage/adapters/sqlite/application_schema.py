"""What the application stores: people, devices as they know them, what they make of them, and what happens by itself.

Written as `schema.py`, which has the rest and makes a database of both.
"""

from __future__ import annotations

import sqlalchemy as sa

from moorage.adapters.sqlite.columns import (
    METADATA,
    integer,
    key,
    maybe_blob,
    maybe_integer,
    maybe_text,
    of_an_identity,
    table,
    text,
)

__all__ = [
    "RECORD_TRIGGERS",
    "api_tokens",
    "awaited_properties",
    "certificate_paths",
    "certificate_sightings",
    "command_runs",
    "dashboard_images",
    "dashboards",
    "data_exports",
    "device_cloud_properties",
    "device_groups",
    "device_job_rows",
    "device_jobs",
    "device_operation_batches",
    "device_operation_errors",
    "device_operations",
    "device_tallies",
    "device_templates",
    "devices",
    "edge_manifests",
    "explorer_queries",
    "export_destinations",
    "export_events",
    "log_readers",
    "mapped_aliases",
    "organizations",
    "roles",
    "rule_events",
    "rule_silences",
    "rules",
    "scheduled_jobs",
    "sign_in_links",
    "users",
    "web_sessions",
]

# People who use the application; `password` is what argon2id made of it, '' while none is chosen.
users = table(
    "users",
    key("hub_id"),
    key("user_id"),
    text("login"),
    text("role"),
    text("password"),
    integer("created"),
    maybe_integer("signed_in"),
    integer("is_disabled"),
    sa.Column("organization", sa.Text, nullable=False, server_default=""),
    sa.Column("subject", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("hub_id", "login", name="uq_users_login"),
)

# Roles that people made; `permissions` is a JSON array. The built-in ones have no rows.
roles = table(
    "roles",
    key("hub_id"),
    key("role_id"),
    text("display_name"),
    text("kind"),
    text("permissions"),
    text("description"),
    integer("version"),
)

# A tree; `parent` is '' below the root, which has no row.
organizations = table(
    "organizations",
    key("hub_id"),
    key("organization_id"),
    text("display_name"),
    text("parent"),
    integer("version"),
)

# What opens the Central API to programs; `digest` is the SHA-256 of a token's text.
api_tokens = table(
    "api_tokens",
    key("hub_id"),
    key("token_id"),
    text("role"),
    text("organization"),
    text("digest"),
    text("created_by"),
    integer("created"),
    integer("expires"),
)

# Browsers that are signed in; `digest` is the SHA-256 of the cookie.
web_sessions = table(
    "web_sessions",
    key("hub_id"),
    key("digest"),
    text("user_id"),
    integer("created"),
    integer("seen"),
    text("address"),
    text("agent"),
)

# Links that let somebody choose a password; `user_id` is '' for a new administrator.
sign_in_links = table("sign_in_links", key("hub_id"), key("digest"), text("user_id"), integer("expires"))

# A device as the application knows it, with or without an identity beside it. The state follows from three columns, of
# which the triggers on identities keep two. `search` is id and name without case.
devices = table(
    "devices",
    key("hub_id"),
    key("device_id"),
    text("display_name"),
    text("search"),
    text("template"),
    text("organization"),
    integer("is_simulated"),
    integer("is_edge"),
    integer("is_approved"),
    integer("is_blocked"),
    integer("is_provisioned"),
    text("manifest"),
    integer("created"),
    integer("version"),
    sa.Column(
        "state",
        sa.Text,
        sa.Computed(
            "CASE WHEN is_blocked = 1 THEN 'blocked' WHEN is_approved = 0 THEN 'waiting'"
            " WHEN is_provisioned = 1 THEN 'provisioned' ELSE 'registered' END",
            persisted=False,
        ),
    ),
)
# The devices of each kind in the order of their ids: lists are merged from the kinds that they want.
sa.Index(
    "ix_devices_kind",
    *(devices.c[column] for column in ("hub_id", "organization", "template", "state", "device_id")),
)
sa.Index("ix_devices_simulated", devices.c.hub_id, sqlite_where=devices.c.is_simulated == sa.literal_column("1"))

# Beside the record: it can be large, and lists read none of it.
device_cloud_properties = table(
    "device_cloud_properties",
    key("hub_id"),
    key("device_id"),
    text("value"),
    sa.ForeignKeyConstraint(["hub_id", "device_id"], ["devices.hub_id", "devices.device_id"], ondelete="CASCADE"),
    with_rowid=True,
)

# Desired properties that wait for a device that has not registered yet.
awaited_properties = table(
    "awaited_properties",
    key("hub_id"),
    key("device_id"),
    text("desired"),
    integer("version"),
    integer("updated"),
    sa.ForeignKeyConstraint(["hub_id", "device_id"], ["devices.hub_id", "devices.device_id"], ondelete="CASCADE"),
    with_rowid=True,
)

# How many devices there are of each kind, kept by triggers.
device_tallies = table(
    "device_tallies", key("hub_id"), key("organization"), key("template"), key("state"), integer("devices")
)

# What lists read stands before the documents, which may be large. `published_model` is '' while nothing is published.
device_templates = table(
    "device_templates",
    key("hub_id"),
    key("template_id"),
    text("display_name"),
    text("model_id"),
    text("published_model"),
    integer("created"),
    integer("updated"),
    integer("version"),
    maybe_text("published"),
    maybe_text("draft"),
    with_rowid=True,
)
sa.Index("ix_device_templates_model", device_templates.c.hub_id, device_templates.c.published_model)

# What was asked of devices by commands, and what they answered; request and response are JSON.
command_runs = table(
    "command_runs",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    key("run_id"),
    text("component"),
    text("command"),
    text("request"),
    integer("is_queued"),
    integer("started"),
    text("by"),
    text("response"),
    maybe_integer("status"),
    text("reason"),
    text("message"),
    maybe_integer("ended"),
    of_an_identity(),
    with_rowid=True,
)
sa.Index(
    "ix_command_runs_started",
    command_runs.c.hub_id,
    command_runs.c.device_id,
    command_runs.c.started,
    command_runs.c.run_id,
)

# Simple names that people gave to places in what a device sends (contract/central.md MAP-1).
mapped_aliases = table(
    "mapped_aliases",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    key("alias"),
    text("path"),
    of_an_identity(),
)

# The certificate that each device showed last; of a path the CA certificates above leaves, closest first, and a chain
# as a device sent it, both packed.
certificate_sightings = table(
    "certificate_sightings",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    text("thumbprint"),
    text("subject"),
    text("issuer"),
    integer("not_before"),
    integer("not_after"),
    text("path_id"),
    integer("first_seen"),
    integer("last_seen"),
    text("previous"),
    of_an_identity(),
)
sa.Index("ix_certificate_sightings_end", certificate_sightings.c.hub_id, certificate_sightings.c.not_after)
sa.Index(
    "ix_certificate_sightings_path",
    certificate_sightings.c.hub_id,
    certificate_sightings.c.path_id,
    certificate_sightings.c.not_after,
)
certificate_paths = table(
    "certificate_paths",
    key("hub_id"),
    key("path_id"),
    sa.Column("certificates", sa.LargeBinary, nullable=False),
    sa.Column("sample", sa.LargeBinary, nullable=False),
    with_rowid=True,
)

# What happens by itself, each thing as one document (`documents.py`); `sealed` has the secrets in it.
rules = table("rules", key("hub_id"), key("rule_id"), text("organization"), text("document"), maybe_blob("sealed"))
data_exports = table(
    "data_exports", key("hub_id"), key("export_id"), text("organization"), text("document"), maybe_blob("sealed")
)
export_destinations = table(
    "export_destinations",
    key("hub_id"),
    key("destination_id"),
    text("organization"),
    text("document"),
    maybe_blob("sealed"),
)
edge_manifests = table(
    "edge_manifests",
    key("hub_id"),
    key("manifest_id"),
    text("organization"),
    text("document"),
    maybe_blob("sealed"),
)

# What happened to rules, the newest of each.
rule_events = table(
    "rule_events",
    sa.Column("number", sa.Integer, primary_key=True),
    text("hub_id"),
    text("rule_id"),
    integer("at"),
    text("kind"),
    text("device_id"),
    text("text"),
    integer("count"),
    with_rowid=True,
)
sa.Index("ix_rule_events_rule", rule_events.c.hub_id, rule_events.c.rule_id)

# Devices that a rule of silence has fired for, until they are back.
rule_silences = table("rule_silences", key("hub_id"), key("rule_id"), key("device_id"), integer("at"))

# How far each reader of the telemetry log has come.
log_readers = table("log_readers", key("hub_id"), key("reader"), integer("place"))

# What waits to be exported and is in no log. Numbers are never used again.
export_events = sa.Table(
    "export_events",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True),
    text("hub_id"),
    text("source"),
    integer("at"),
    text("device_id"),
    text("facts"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# Jobs of the application; those of the hub's own API are `jobs`.
device_jobs = table(
    "device_jobs",
    key("hub_id"),
    key("job_id"),
    text("organization"),
    text("schedule_id"),
    text("status"),
    integer("created"),
    maybe_integer("ended"),
    text("document"),
)
sa.Index("ix_device_jobs_created", device_jobs.c.hub_id, device_jobs.c.created, device_jobs.c.job_id)
sa.Index("ix_device_jobs_ended", device_jobs.c.hub_id, device_jobs.c.ended)
device_job_rows = table(
    "device_job_rows",
    key("hub_id"),
    key("job_id"),
    key("device_id"),
    integer("batch"),
    text("outcome"),
    integer("updated"),
    text("reason"),
    text("message"),
)
sa.Index(
    "ix_device_job_rows_open",
    *(device_job_rows.c[name] for name in ("hub_id", "job_id", "outcome", "batch")),
)
scheduled_jobs = table("scheduled_jobs", key("hub_id"), key("schedule_id"), text("organization"), text("document"))

# Acts on many devices, what of each is still to be done in batches, and what failed.
device_operations = table(
    "device_operations",
    key("hub_id"),
    key("operation_id"),
    text("maker"),
    integer("started"),
    maybe_integer("ended"),
    text("document"),
)
device_operation_batches = table(
    "device_operation_batches",
    key("hub_id"),
    key("operation_id"),
    sa.Column("number", sa.Integer, primary_key=True),
    text("items"),
    with_rowid=True,
)
device_operation_errors = table(
    "device_operation_errors",
    key("hub_id"),
    key("operation_id"),
    sa.Column("number", sa.Integer, primary_key=True),
    text("item"),
    text("reason"),
    text("message"),
)

# Stored queries over devices, and what people made of telemetry: queries and boards are documents.
device_groups = table(
    "device_groups",
    key("hub_id"),
    key("group_id"),
    text("display_name"),
    text("description"),
    text("query"),
    text("organization"),
    integer("created"),
    integer("version"),
)


def _board(name: str, key_name: str) -> sa.Table:
    """`owner` is the key of the one actor who has it, and goes with it; '' for what belongs to the organisation."""
    return table(
        name,
        key("hub_id"),
        key(key_name),
        text("display_name"),
        text("owner"),
        text("organization"),
        text("document"),
        integer("created"),
        integer("version"),
    )


explorer_queries = _board("explorer_queries", "query_id")
dashboards = _board("dashboards", "dashboard_id")

# Pictures on dashboards; they go with the last tile that shows them.
dashboard_images = table(
    "dashboard_images",
    key("hub_id"),
    key("image_id"),
    text("kind"),
    sa.Column("content", sa.LargeBinary, nullable=False),
    integer("created"),
    with_rowid=True,
)

# A record beside each identity, and counts of records by kind, kept by the store whoever changes them.
_OF_NEW_IDENTITY = "hub_id = NEW.hub_id AND device_id = NEW.device_id"
_KEEP_RECORD = (
    "INSERT INTO devices (hub_id, device_id, display_name, search, template, organization, is_simulated, is_edge,"
    " is_approved, is_blocked, is_provisioned, manifest, created, version) VALUES (NEW.hub_id, NEW.device_id,"
    " NEW.device_id, lower(NEW.device_id), '', '', 0, NEW.is_edge, 1, NEW.status = 'disabled', 1, '', NEW.created, 1)"
    " ON CONFLICT (hub_id, device_id) DO UPDATE SET is_edge = excluded.is_edge, is_approved = 1,"
    " is_blocked = max(is_blocked, excluded.is_blocked), is_provisioned = 1"
)
# Who was blocked while its identity was on the way gets a disabled one. Triggers run in any order, so what counts the
# identities finds a row to count down from.
_IS_BLOCKED = f"EXISTS (SELECT 1 FROM devices WHERE {_OF_NEW_IDENTITY} AND is_blocked = 1)"
_COUNTED = f"INSERT INTO device_counts SELECT NEW.hub_id, NEW.status, 0 WHERE {_IS_BLOCKED} ON CONFLICT DO NOTHING"
_KEEP_BLOCKED = (
    "UPDATE identities SET status = 'disabled', status_reason = 'blocked'"
    f" WHERE {_OF_NEW_IDENTITY} AND module_id = '' AND status = 'enabled' AND {_IS_BLOCKED}"
)
_TALLY_NEW = (
    "INSERT INTO device_tallies VALUES (NEW.hub_id, NEW.organization, NEW.template, NEW.state, 1)"
    " ON CONFLICT (hub_id, organization, template, state) DO UPDATE SET devices = devices + 1"
)
_OF_OLD_KIND = (
    "hub_id = OLD.hub_id AND organization = OLD.organization AND template = OLD.template AND state = OLD.state"
)
_TALLY_OLD = (
    f"UPDATE device_tallies SET devices = devices - 1 WHERE {_OF_OLD_KIND};"
    f" DELETE FROM device_tallies WHERE {_OF_OLD_KIND} AND devices = 0"
)
RECORD_TRIGGERS = tuple(
    f"CREATE TRIGGER {name} AFTER {event} ON {table} WHEN {condition} BEGIN {'; '.join(statements)}; END"
    for name, event, table, condition, statements in (
        ("tally_new_device", "INSERT", "devices", "1", (_TALLY_NEW,)),
        (
            "tally_changed_device",
            "UPDATE",
            "devices",
            "NEW.organization != OLD.organization OR NEW.template != OLD.template OR NEW.state != OLD.state",
            (_TALLY_OLD, _TALLY_NEW),
        ),
        ("tally_deleted_device", "DELETE", "devices", "1", (_TALLY_OLD,)),
        ("record_new_identity", "INSERT", "identities", "NEW.module_id = ''", (_KEEP_RECORD, _COUNTED, _KEEP_BLOCKED)),
        (
            "record_changed_identity",
            "UPDATE OF status",
            "identities",
            "NEW.module_id = '' AND NEW.status != OLD.status",
            (f"UPDATE devices SET is_blocked = (NEW.status = 'disabled') WHERE {_OF_NEW_IDENTITY}",),
        ),
        (
            "forget_record_of_identity",
            "DELETE",
            "identities",
            "OLD.module_id = ''",
            ("DELETE FROM devices WHERE hub_id = OLD.hub_id AND device_id = OLD.device_id",),
        ),
    )
)
