"""What is stored where: the tables of a new database, written down once.

Every row belongs to a hub (`hub_id`). Small rows with natural keys are kept in the key's own tree (WITHOUT ROWID: one
descent a look-up); twins and waiting messages can be large and would make that tree deep, so they lie beside it. Names
that are compared without case have a folded `key` next to the name as typed. `module_id` is '' for a device. Times are
whole microseconds since 1970, UTC. `sealed` columns hold keys encrypted by `sealing.py`.

A change here needs a migration in `migrations/versions`; a test compares what both make.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

__all__ = [
    "APPLICATION_ID",
    "DIALECT",
    "TRIGGERS",
    "VERSION",
    "activity",
    "alembic_version",
    "api_tokens",
    "cas",
    "certificate_paths",
    "certificate_sightings",
    "command_runs",
    "configuration_marks",
    "configuration_work",
    "configurations",
    "consumer_groups",
    "counters",
    "create_statements",
    "crl_issuers",
    "dashboard_images",
    "dashboards",
    "data_exports",
    "dead_letters",
    "device_cloud_properties",
    "device_counts",
    "device_groups",
    "device_job_rows",
    "device_jobs",
    "device_tallies",
    "device_templates",
    "devices",
    "edge_manifests",
    "enrollment_groups",
    "explorer_queries",
    "export_destinations",
    "export_events",
    "feedback",
    "file_notifications",
    "file_uploads",
    "identities",
    "individual_enrollments",
    "job_devices",
    "jobs",
    "linked_hubs",
    "log_readers",
    "mapped_aliases",
    "messages",
    "mqtt_sessions",
    "notifications",
    "ocsp_revocations",
    "organizations",
    "outbox",
    "policies",
    "refused_lines",
    "registrations",
    "revocation_list_parts",
    "revocation_lists",
    "roles",
    "routing",
    "routing_cursors",
    "rule_events",
    "rule_silences",
    "rules",
    "sas_switches",
    "scheduled_jobs",
    "settings",
    "sign_in_links",
    "twin_configurations",
    "twins",
    "users",
    "waivers",
    "web_sessions",
]

# The newest migration; its revision is this number with four digits.
VERSION = 6
# "MOOR", in the file's header: tells our database from anybody else's.
APPLICATION_ID = 0x4D4F4F52

DIALECT = sqlite.dialect(paramstyle="qmark")

_metadata = sa.MetaData()


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _maybe_text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text)


def _maybe_integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer)


def _maybe_blob(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary)


def _table(name: str, *parts: sa.Column[Any] | sa.Constraint, with_rowid: bool = False) -> sa.Table:
    return sa.Table(name, _metadata, *parts, sqlite_with_rowid=with_rowid, sqlite_strict=True)


def _of_an_identity() -> sa.ForeignKeyConstraint:
    """What hangs on an identity goes with it, so that a new device of the same name inherits nothing."""
    columns = ["hub_id", "device_id", "module_id"]
    return sa.ForeignKeyConstraint(columns, [f"identities.{column}" for column in columns], ondelete="CASCADE")


identities = _table(
    "identities",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _text("generation_id"),
    _integer("version"),
    _text("status"),
    _maybe_text("status_reason"),
    _maybe_integer("status_updated"),
    _text("authentication"),
    _maybe_text("primary_thumbprint"),
    _maybe_text("secondary_thumbprint"),
    _maybe_text("enrollment_group"),
    _maybe_blob("sealed"),
    _integer("is_edge"),
    _maybe_text("device_scope"),
    _maybe_text("parent_scopes"),
    _maybe_text("managed_by"),
    _integer("created"),
)
# Counts devices without reading them.
sa.Index(
    "ix_identities_devices",
    identities.c.hub_id,
    identities.c.status,
    sqlite_where=identities.c.module_id == sa.literal_column("''"),
)

# What queries look for. A module by its id, on whichever device; edge devices; who has this certificate, this parent.
sa.Index(
    "ix_identities_modules",
    identities.c.hub_id,
    identities.c.module_id,
    identities.c.device_id,
    sqlite_where=identities.c.module_id != sa.literal_column("''"),
)
sa.Index("ix_identities_edge", identities.c.hub_id, sqlite_where=identities.c.is_edge == sa.literal_column("1"))
for _column in (identities.c.primary_thumbprint, identities.c.secondary_thumbprint, identities.c.device_scope):
    sa.Index(f"ix_identities_{_column.name}", identities.c.hub_id, _column, sqlite_where=_column.is_not(None))

policies = _table("policies", _key("hub_id"), _key("scope"), _key("name"), _text("rights"), _maybe_blob("sealed"))

sas_switches = _table(
    "sas_switches",
    _key("hub_id"),
    _integer("disable_local_auth"),
    _integer("disable_device_sas"),
    _integer("disable_module_sas"),
)

cas = _table(
    "cas",
    _key("hub_id"),
    _key("registry"),
    _key("key"),
    _text("name"),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    _text("proof"),
    _integer("version"),
    _integer("created"),
    _integer("updated"),
    _maybe_text("code"),
    _maybe_integer("code_expires"),
)

twins = _table(
    "twins",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _integer("version"),
    _text("tags"),
    _text("desired"),
    _text("desired_metadata"),
    _integer("desired_version"),
    _text("reported"),
    _text("reported_metadata"),
    _integer("reported_version"),
    _maybe_text("model_id"),
    _of_an_identity(),
    with_rowid=True,
)

sa.Index(
    "ix_twins_model",
    *(twins.c[column] for column in ("hub_id", "model_id", "device_id", "module_id")),
    sqlite_where=twins.c.model_id.is_not(None),
)

# Every tag of every twin, for queries; see terms.py.
tag_terms = _table(
    "tag_terms",
    _key("hub_id"),
    _key("path"),
    _key("term"),
    _key("device_id"),
    _key("module_id"),
)

messages = _table(
    "messages",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    _text("message_id"),
    _integer("enqueued"),
    _integer("expires"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _text("properties"),
    _maybe_text("correlation_id"),
    _maybe_text("user_id"),
    _maybe_text("content_type"),
    _maybe_text("content_encoding"),
    _text("ack"),
    _integer("delivery_count"),
    _of_an_identity(),
    with_rowid=True,
)

# What expires first, whatever queue it is in.
sa.Index("ix_messages_expires", messages.c.hub_id, messages.c.expires)

# It outlives the device that it is about.
feedback = _table(
    "feedback",
    _key("hub_id"),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    _text("message_id"),
    _text("device_id"),
    _text("module_id"),
    _text("generation_id"),
    _integer("recorded"),
    _text("outcome"),
    _integer("deliveries"),
    _maybe_text("lock"),
    _maybe_integer("locked_until"),
)
sa.Index("ix_feedback_lock", feedback.c.hub_id, feedback.c.lock, sqlite_where=feedback.c.lock.is_not(None))

# Begun and not ended. `signature` is a digest of what lets somebody write the blob, `commit_id` of what was put there.
file_uploads = _table(
    "file_uploads",
    _key("hub_id"),
    _key("correlation_id"),
    _text("device_id"),
    _text("blob_name"),
    _text("signature"),
    _integer("created"),
    _integer("expires"),
    _maybe_integer("size"),
    _maybe_integer("committed"),
    _maybe_text("commit_id"),
    _maybe_text("begun_by"),
)
sa.Index("ix_file_uploads_signature", file_uploads.c.hub_id, file_uploads.c.signature, unique=True)
sa.Index("ix_file_uploads_device", file_uploads.c.hub_id, file_uploads.c.device_id)
sa.Index("ix_file_uploads_expires", file_uploads.c.hub_id, file_uploads.c.expires)

file_notifications = _table(
    "file_notifications",
    _key("hub_id"),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    _text("device_id"),
    _text("blob_uri"),
    _text("blob_name"),
    _integer("size"),
    _integer("updated"),
    _integer("recorded"),
    _integer("deliveries"),
    _maybe_text("lock"),
    _maybe_integer("locked_until"),
)
sa.Index(
    "ix_file_notifications_lock",
    file_notifications.c.hub_id,
    file_notifications.c.lock,
    sqlite_where=file_notifications.c.lock.is_not(None),
)

mqtt_sessions = _table(
    "mqtt_sessions",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _text("subscriptions"),
    _of_an_identity(),
)

activity = _table(
    "activity",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _maybe_integer("connected"),
    _maybe_integer("last_activity"),
    _integer("updated"),
    _of_an_identity(),
)


def _enrollment(name: str, *own: sa.Column[Any]) -> sa.Table:
    return _table(
        name,
        _key("hub_id"),
        _key("key"),
        _text("name"),
        _integer("version"),
        _text("status"),
        _integer("created"),
        _integer("updated"),
        _text("attestation"),
        _maybe_blob("sealed"),
        _text("allocation"),
        _text("linked_hubs"),
        _integer("update_hub_assignment"),
        _integer("migrate_device_data"),
        _text("initial_tags"),
        _text("initial_desired"),
        _integer("is_edge"),
        _maybe_text("webhook_url"),
        _maybe_text("webhook_api_version"),
        *own,
        with_rowid=True,
    )


individual_enrollments = _enrollment(
    "individual_enrollments", _maybe_text("device_id"), _maybe_text("device_information")
)
enrollment_groups = _enrollment("enrollment_groups", _maybe_text("display_name"))

registrations = _table(
    "registrations",
    _key("hub_id"),
    _key("key"),
    _text("registration_id"),
    _text("operation_id"),
    _text("status"),
    _integer("created"),
    _integer("updated"),
    _integer("version"),
    _text("attestation_kind"),
    _maybe_text("group_key"),
    _maybe_text("group_id"),
    _maybe_text("substatus"),
    _maybe_text("assigned_hub"),
    _maybe_text("device_id"),
    _maybe_integer("error_code"),
    _maybe_text("error_message"),
    _maybe_text("payload"),
    # What the device sent along, for as long as it is being placed by somebody who wants to see it.
    _maybe_text("request_payload"),
)
sa.Index("ix_registrations_group", registrations.c.hub_id, registrations.c.group_key, registrations.c.key)

# Hubs that devices can be assigned to; `key` is '' for the hub that the provisioning service belongs to.
linked_hubs = _table(
    "linked_hubs",
    _key("hub_id"),
    _key("key"),
    _text("host_name"),
    _maybe_blob("sealed"),
    _text("location"),
    _integer("weight"),
    _integer("applies_policy"),
    _integer("position"),
    _integer("created"),
    _integer("updated"),
)

jobs = _table(
    "jobs",
    _key("hub_id"),
    _key("job_id"),
    _text("kind"),
    _text("work"),
    _maybe_text("condition"),
    _maybe_text("device_ids"),
    _integer("created"),
    _integer("start"),
    _integer("max_execution_s"),
    _text("status"),
    _text("runner"),
    _maybe_integer("started"),
    _maybe_integer("ended"),
    _maybe_text("failure_reason"),
    _maybe_text("status_message"),
    _integer("is_frozen"),
    _maybe_text("frozen_up_to"),
    _integer("devices"),
    _integer("succeeded"),
    _integer("failed"),
    _integer("running"),
    _integer("pending"),
    with_rowid=True,
)
sa.Index("ix_jobs_created", jobs.c.hub_id, jobs.c.created, jobs.c.job_id)
# What has not ended, without reading the jobs: asked every second. `ended` is there so that the index covers it.
sa.Index(
    "ix_jobs_unfinished",
    jobs.c.hub_id,
    jobs.c.start,
    jobs.c.created,
    jobs.c.job_id,
    jobs.c.status,
    jobs.c.runner,
    jobs.c.ended,
    sqlite_where=jobs.c.ended.is_(None),
)
sa.Index("ix_jobs_ended", jobs.c.hub_id, jobs.c.ended, sqlite_where=jobs.c.ended.is_not(None))

# They outlive the devices they were about, and are deleted in pieces before their job.
job_devices = _table(
    "job_devices",
    _key("hub_id"),
    _key("job_id"),
    _key("device_id"),
    _text("status"),
    _integer("updated"),
    _maybe_integer("started"),
    _maybe_integer("ended"),
    _maybe_integer("reply_status"),
    _maybe_text("reply_payload"),
    _maybe_text("reason"),
    _maybe_text("message"),
)
# Those that are still to be dealt with. Without `ended` in it SQLite would rather read every row of the job.
sa.Index(
    "ix_job_devices_open",
    job_devices.c.hub_id,
    job_devices.c.job_id,
    job_devices.c.status,
    job_devices.c.device_id,
    job_devices.c.ended,
    sqlite_where=job_devices.c.ended.is_(None),
)
sa.Index("ix_job_devices_device", job_devices.c.hub_id, job_devices.c.device_id)

configurations = _table(
    "configurations",
    _key("hub_id"),
    _key("id"),
    _integer("version"),
    _text("schema_version"),
    _text("content"),
    _text("target_condition"),
    _integer("priority"),
    _text("labels"),
    _text("metrics"),
    _integer("created"),
    _integer("updated"),
    # Whether its target condition can change when a device reports: asked for each report.
    _integer("hears_reports"),
    with_rowid=True,
)
sa.Index("ix_configurations_hearing", configurations.c.hub_id, configurations.c.hears_reports)

# What of which configuration an identity has. `is_deployed` rows come from an edge deployment on the device.
twin_configurations = _table(
    "twin_configurations",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _key("configuration_id"),
    _text("status"),
    _text("holds"),
    _integer("is_deployed"),
    _of_an_identity(),
)
sa.Index(
    "ix_twin_configurations_configuration",
    *(
        twin_configurations.c[column]
        for column in ("hub_id", "configuration_id", "device_id", "module_id", "status", "is_deployed")
    ),
)

# Identities that have to be looked at again, because they or their twin changed.
configuration_marks = _table(
    "configuration_marks", _key("hub_id"), _key("device_id"), _key("module_id"), _of_an_identity()
)

# Configurations that have to be looked at again, and how far that came.
configuration_work = _table(
    "configuration_work",
    _key("hub_id"),
    _key("configuration_id"),
    _integer("sequence"),
    _text("phase"),
    _maybe_text("after_device"),
    _maybe_text("after_module"),
)

# Whoever changes a twin or an identity, and however, marks it for the configurations, in the same transaction. Without
# configurations that is one look into an empty index. Upserts write every column, so values are compared.
# An OR IGNORE here would give way to what the statement says that sets the trigger off.
_MARK = (
    "INSERT INTO configuration_marks SELECT NEW.hub_id, NEW.device_id, NEW.module_id WHERE NOT EXISTS "
    "(SELECT 1 FROM configuration_marks WHERE hub_id = NEW.hub_id AND device_id = NEW.device_id "
    "AND module_id = NEW.module_id)"
)
# A deployment may want a deleted module back.
_MARK_DEVICE = (
    "INSERT INTO configuration_marks SELECT hub_id, device_id, module_id FROM identities WHERE hub_id = OLD.hub_id "
    "AND device_id = OLD.device_id AND module_id = '' AND NOT EXISTS (SELECT 1 FROM configuration_marks "
    "WHERE hub_id = OLD.hub_id AND device_id = OLD.device_id AND module_id = '')"
)
_DELETED_MODULE_TRIGGER = (
    "CREATE TRIGGER mark_device_of_deleted_module AFTER DELETE ON identities WHEN OLD.module_id != '' AND "
    f"EXISTS (SELECT 1 FROM configurations WHERE hub_id = OLD.hub_id) BEGIN {_MARK_DEVICE}; END"
)
_ANY = "EXISTS (SELECT 1 FROM configurations WHERE hub_id = NEW.hub_id)"
_HEARING = "EXISTS (SELECT 1 FROM configurations WHERE hub_id = NEW.hub_id AND hears_reports = 1)"
_IDENTITY_CHANGED = "(NEW.status IS NOT OLD.status OR NEW.authentication IS NOT OLD.authentication)"
_TWIN_CHANGED = (
    "(NEW.desired_version IS NOT OLD.desired_version OR NEW.tags IS NOT OLD.tags OR NEW.model_id IS NOT OLD.model_id)"
)
_INDEX_TAGS = (
    "INSERT INTO tag_terms SELECT NEW.hub_id, value ->> 0, value ->> 1, NEW.device_id, NEW.module_id"
    " FROM json_each(tag_terms_of(NEW.tags))"
)
_FORGET_TAGS = (
    "DELETE FROM tag_terms WHERE hub_id = OLD.hub_id AND (path, term) IN"
    " (SELECT value ->> 0, value ->> 1 FROM json_each(tag_terms_of(OLD.tags)))"
    " AND device_id = OLD.device_id AND module_id = OLD.module_id"
)
_TAG_TRIGGERS = tuple(
    f"CREATE TRIGGER {name} AFTER {event} ON twins WHEN {condition} BEGIN {'; '.join(statements)}; END"
    for name, event, condition, statements in (
        ("index_tags", "INSERT", "NEW.tags != '{}'", (_INDEX_TAGS,)),
        ("index_changed_tags", "UPDATE OF tags", "NEW.tags IS NOT OLD.tags", (_FORGET_TAGS, _INDEX_TAGS)),
        ("forget_tags", "DELETE", "OLD.tags != '{}'", (_FORGET_TAGS,)),
    )
)
_COUNT_NEW = (
    "INSERT INTO device_counts VALUES (NEW.hub_id, NEW.status, 1)"
    " ON CONFLICT (hub_id, status) DO UPDATE SET devices = devices + 1"
)
_COUNT_OLD = "UPDATE device_counts SET devices = devices - 1 WHERE hub_id = OLD.hub_id AND status = OLD.status"
_COUNT_TRIGGERS = tuple(
    f"CREATE TRIGGER {name} AFTER {event} ON identities WHEN {condition} BEGIN {'; '.join(statements)}; END"
    for name, event, condition, statements in (
        ("count_new_device", "INSERT", "NEW.module_id = ''", (_COUNT_NEW,)),
        (
            "count_changed_device",
            "UPDATE OF status",
            "NEW.module_id = '' AND NEW.status IS NOT OLD.status",
            (_COUNT_OLD, _COUNT_NEW),
        ),
        ("count_deleted_device", "DELETE", "OLD.module_id = ''", (_COUNT_OLD,)),
    )
)
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
_RECORD_TRIGGERS = tuple(
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
TRIGGERS = (
    _TAG_TRIGGERS
    + _COUNT_TRIGGERS
    + _RECORD_TRIGGERS
    + (_DELETED_MODULE_TRIGGER,)
    + tuple(
        f"CREATE TRIGGER {name} AFTER {event} ON {table} WHEN {condition} BEGIN {_MARK}; END"
        for name, event, table, condition in (
            ("mark_new_identity", "INSERT", "identities", _ANY),
            (
                "mark_changed_identity",
                "UPDATE",
                "identities",
                f"{_IDENTITY_CHANGED} AND {_ANY}",
            ),
            ("mark_new_twin", "INSERT", "twins", _ANY),
            (
                "mark_changed_twin",
                "UPDATE",
                "twins",
                f"{_TWIN_CHANGED} AND {_ANY}",
            ),
            (
                "mark_reporting_twin",
                "UPDATE",
                "twins",
                f"NEW.reported_version IS NOT OLD.reported_version AND {_HEARING}",
            ),
        )
    )
)

# Imports and exports. `sealed` holds the containers' URIs, which let anybody in who has them.
transfers = _table(
    "transfers",
    _key("hub_id"),
    _key("job_id"),
    _text("kind"),
    _text("status"),
    _integer("created"),
    _maybe_integer("ended"),
    _text("input_blob"),
    _text("output_blob"),
    _integer("with_keys"),
    _integer("progress"),
    _maybe_text("failure"),
    _text("checkpoint"),
    _maybe_blob("sealed"),
)

# Lines of a running import; they go once its log is written.
refused_lines = _table(
    "refused_lines",
    _key("hub_id"),
    _key("job_id"),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
    _text("report"),
    _integer("waits"),
)

consumer_groups = _table("consumer_groups", _key("hub_id"), _key("key"), _text("name"), _integer("created"))

# Whose revocation lists are looked at. A URL is an operator's, never a certificate's.
crl_issuers = _table(
    "crl_issuers",
    _key("hub_id"),
    _key("issuer_id"),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    _maybe_text("policy"),
    _maybe_text("crl_url"),
    _maybe_text("ocsp_url"),
    _maybe_integer("fetched"),
    _maybe_text("failed"),
    _integer("failures"),
    _maybe_integer("next_fetch"),
    _maybe_text("etag"),
)

# A list without its entries; its number is decimal digits, and may have 49 of them.
revocation_lists = _table(
    "revocation_lists",
    _key("hub_id"),
    _key("list_id"),
    _text("issuer_id"),
    _text("slot"),
    _text("kind"),
    _text("number"),
    _integer("this_update"),
    _integer("next_update"),
    _integer("entries"),
    sa.Column("signer", sa.LargeBinary, nullable=False),
    _integer("added"),
)

# The packed bytes of lists, written before the list itself: a large one is many transactions.
revocation_list_parts = _table(
    "revocation_list_parts",
    _key("hub_id"),
    _key("list_id"),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    with_rowid=True,
)

# Certificates that a responder called revoked, while its answer holds.
ocsp_revocations = _table(
    "ocsp_revocations",
    _key("hub_id"),
    _key("issuer"),
    _key("serial"),
    _text("reason"),
    _integer("date"),
    _text("source"),
    _integer("until"),
)

# The weaknesses of certificates that a hub puts up with.
waivers = _table("waivers", _key("hub_id"), _key("name"))

# People who use the application; `password` is what argon2id made of it, '' while none is chosen.
users = _table(
    "users",
    _key("hub_id"),
    _key("user_id"),
    _text("login"),
    _text("role"),
    _text("password"),
    _integer("created"),
    _maybe_integer("signed_in"),
    _integer("is_disabled"),
    sa.Column("organization", sa.Text, nullable=False, server_default=""),
    sa.Column("subject", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("hub_id", "login", name="uq_users_login"),
)

# Roles that people made; `permissions` is a JSON array. The built-in ones have no rows.
roles = _table(
    "roles",
    _key("hub_id"),
    _key("role_id"),
    _text("display_name"),
    _text("kind"),
    _text("permissions"),
    _text("description"),
    _integer("version"),
)

# A tree; `parent` is '' below the root, which has no row.
organizations = _table(
    "organizations",
    _key("hub_id"),
    _key("organization_id"),
    _text("display_name"),
    _text("parent"),
    _integer("version"),
)

# What opens the Central API to programs; `digest` is the SHA-256 of a token's text.
api_tokens = _table(
    "api_tokens",
    _key("hub_id"),
    _key("token_id"),
    _text("role"),
    _text("organization"),
    _text("digest"),
    _text("created_by"),
    _integer("created"),
    _integer("expires"),
)

# Browsers that are signed in; `digest` is the SHA-256 of the cookie.
web_sessions = _table(
    "web_sessions",
    _key("hub_id"),
    _key("digest"),
    _text("user_id"),
    _integer("created"),
    _integer("seen"),
    _text("address"),
    _text("agent"),
)

# Links that let somebody choose a password; `user_id` is '' for a new administrator.
sign_in_links = _table("sign_in_links", _key("hub_id"), _key("digest"), _text("user_id"), _integer("expires"))

# A device as the application knows it, with or without an identity beside it. The state follows from three columns, of
# which the triggers on identities keep two. `search` is id and name without case.
devices = _table(
    "devices",
    _key("hub_id"),
    _key("device_id"),
    _text("display_name"),
    _text("search"),
    _text("template"),
    _text("organization"),
    _integer("is_simulated"),
    _integer("is_edge"),
    _integer("is_approved"),
    _integer("is_blocked"),
    _integer("is_provisioned"),
    _text("manifest"),
    _integer("created"),
    _integer("version"),
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
device_cloud_properties = _table(
    "device_cloud_properties",
    _key("hub_id"),
    _key("device_id"),
    _text("value"),
    sa.ForeignKeyConstraint(["hub_id", "device_id"], ["devices.hub_id", "devices.device_id"], ondelete="CASCADE"),
    with_rowid=True,
)

# How many devices there are of each kind, kept by triggers.
device_tallies = _table(
    "device_tallies", _key("hub_id"), _key("organization"), _key("template"), _key("state"), _integer("devices")
)

# What lists read stands before the documents, which may be large. `published_model` is '' while nothing is published.
device_templates = _table(
    "device_templates",
    _key("hub_id"),
    _key("template_id"),
    _text("display_name"),
    _text("model_id"),
    _text("published_model"),
    _integer("created"),
    _integer("updated"),
    _integer("version"),
    _maybe_text("published"),
    _maybe_text("draft"),
    with_rowid=True,
)
sa.Index("ix_device_templates_model", device_templates.c.hub_id, device_templates.c.published_model)

# How many devices there are, kept by triggers: counting a hundred thousand takes longer than a page may.
device_counts = _table("device_counts", _key("hub_id"), _key("status"), _integer("devices"))

# Numbers that only grow.
counters = _table("counters", _key("hub_id"), _key("name"), _integer("value"))

# Of one hub, or of the whole installation where `hub_id` is ''.
settings = _table("settings", _key("hub_id"), _key("key"), _text("value"))

# What was asked of devices by commands, and what they answered; request and response are JSON.
command_runs = _table(
    "command_runs",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _key("run_id"),
    _text("component"),
    _text("command"),
    _text("request"),
    _integer("is_queued"),
    _integer("started"),
    _text("by"),
    _text("response"),
    _maybe_integer("status"),
    _text("reason"),
    _text("message"),
    _maybe_integer("ended"),
    _of_an_identity(),
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
mapped_aliases = _table(
    "mapped_aliases",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _key("alias"),
    _text("path"),
    _of_an_identity(),
)

# The certificate that each device showed last; of a path the CA certificates above leaves, closest first, and a chain
# as a device sent it, both packed.
certificate_sightings = _table(
    "certificate_sightings",
    _key("hub_id"),
    _key("device_id"),
    _key("module_id"),
    _text("thumbprint"),
    _text("subject"),
    _text("issuer"),
    _integer("not_before"),
    _integer("not_after"),
    _text("path_id"),
    _integer("first_seen"),
    _integer("last_seen"),
    _text("previous"),
    _of_an_identity(),
)
sa.Index("ix_certificate_sightings_end", certificate_sightings.c.hub_id, certificate_sightings.c.not_after)
sa.Index(
    "ix_certificate_sightings_path",
    certificate_sightings.c.hub_id,
    certificate_sightings.c.path_id,
    certificate_sightings.c.not_after,
)
certificate_paths = _table(
    "certificate_paths",
    _key("hub_id"),
    _key("path_id"),
    sa.Column("certificates", sa.LargeBinary, nullable=False),
    sa.Column("sample", sa.LargeBinary, nullable=False),
    with_rowid=True,
)

# Events that were committed and, as far as this file knows, not yet published.
outbox = _table(
    "outbox",
    sa.Column("sequence", sa.Integer, primary_key=True),
    _text("hub_id"),
    _text("kind"),
    _text("subject"),
    _text("data"),
    with_rowid=True,
)

# What the hub has to tell back ends and has not put into the telemetry log yet. A job has no device.
notifications = _table(
    "notifications",
    sa.Column("sequence", sa.Integer, primary_key=True),
    _text("hub_id"),
    _text("source"),
    _text("operation"),
    _text("device_id"),
    _text("module_id"),
    _maybe_integer("at"),
    _text("correlation_id"),
    _text("facts"),
    with_rowid=True,
)

# Where messages go: all of a hub's routing as one document; `sealed` has addresses and credentials of its endpoints.
routing = _table("routing", _key("hub_id"), _text("document"), _maybe_blob("sealed"))

# For each endpoint the place in the telemetry log from which on nothing was delivered.
routing_cursors = _table("routing_cursors", _key("hub_id"), _key("endpoint"), _integer("place"))

# Messages that an endpoint did not take.
dead_letters = _table(
    "dead_letters",
    sa.Column("number", sa.Integer, primary_key=True),
    _text("hub_id"),
    _text("endpoint"),
    _integer("at"),
    _text("device_id"),
    _integer("place"),
    _text("reason"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    with_rowid=True,
)
sa.Index("ix_dead_letters_endpoint", dead_letters.c.hub_id, dead_letters.c.endpoint)

# What happens by itself, each thing as one document (`documents.py`); `sealed` has the secrets in it.
rules = _table(
    "rules", _key("hub_id"), _key("rule_id"), _text("organization"), _text("document"), _maybe_blob("sealed")
)
data_exports = _table(
    "data_exports", _key("hub_id"), _key("export_id"), _text("organization"), _text("document"), _maybe_blob("sealed")
)
export_destinations = _table(
    "export_destinations",
    _key("hub_id"),
    _key("destination_id"),
    _text("organization"),
    _text("document"),
    _maybe_blob("sealed"),
)
edge_manifests = _table(
    "edge_manifests",
    _key("hub_id"),
    _key("manifest_id"),
    _text("organization"),
    _text("document"),
    _maybe_blob("sealed"),
)

# What happened to rules, the newest of each.
rule_events = _table(
    "rule_events",
    sa.Column("number", sa.Integer, primary_key=True),
    _text("hub_id"),
    _text("rule_id"),
    _integer("at"),
    _text("kind"),
    _text("device_id"),
    _text("text"),
    _integer("count"),
    with_rowid=True,
)
sa.Index("ix_rule_events_rule", rule_events.c.hub_id, rule_events.c.rule_id)

# Devices that a rule of silence has fired for, until they are back.
rule_silences = _table("rule_silences", _key("hub_id"), _key("rule_id"), _key("device_id"), _integer("at"))

# How far each reader of the telemetry log has come.
log_readers = _table("log_readers", _key("hub_id"), _key("reader"), _integer("place"))

# What waits to be exported and is in no log. Numbers are never used again.
export_events = sa.Table(
    "export_events",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    _text("hub_id"),
    _text("source"),
    _integer("at"),
    _text("device_id"),
    _text("facts"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# Jobs of the application; those of the hub's own API are `jobs`.
device_jobs = _table(
    "device_jobs",
    _key("hub_id"),
    _key("job_id"),
    _text("organization"),
    _text("schedule_id"),
    _text("status"),
    _integer("created"),
    _maybe_integer("ended"),
    _text("document"),
)
sa.Index("ix_device_jobs_created", device_jobs.c.hub_id, device_jobs.c.created, device_jobs.c.job_id)
sa.Index("ix_device_jobs_ended", device_jobs.c.hub_id, device_jobs.c.ended)
device_job_rows = _table(
    "device_job_rows",
    _key("hub_id"),
    _key("job_id"),
    _key("device_id"),
    _integer("batch"),
    _text("outcome"),
    _integer("updated"),
    _text("reason"),
    _text("message"),
)
sa.Index(
    "ix_device_job_rows_open",
    *(device_job_rows.c[name] for name in ("hub_id", "job_id", "outcome", "batch")),
)
scheduled_jobs = _table("scheduled_jobs", _key("hub_id"), _key("schedule_id"), _text("organization"), _text("document"))

# Stored queries over devices, and what people made of telemetry: queries and boards are documents.
device_groups = _table(
    "device_groups",
    _key("hub_id"),
    _key("group_id"),
    _text("display_name"),
    _text("description"),
    _text("query"),
    _text("organization"),
    _integer("created"),
    _integer("version"),
)


def _board(name: str, key: str) -> sa.Table:
    """`owner` is the one person who has it, '' for what belongs to the organisation."""
    return _table(
        name,
        _key("hub_id"),
        _key(key),
        _text("display_name"),
        _text("owner"),
        _text("organization"),
        _text("document"),
        _integer("created"),
        _integer("version"),
    )


explorer_queries = _board("explorer_queries", "query_id")
dashboards = _board("dashboards", "dashboard_id")

# Pictures on dashboards; they go with the last tile that shows them.
dashboard_images = _table(
    "dashboard_images",
    _key("hub_id"),
    _key("image_id"),
    _text("kind"),
    sa.Column("content", sa.LargeBinary, nullable=False),
    _integer("created"),
    with_rowid=True,
)

# Alembic's own, in Alembic's own shape: which migration this database is at.
alembic_version = sa.Table(
    "alembic_version",
    _metadata,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def create_statements() -> list[str]:
    """The SQL that makes an empty file a current database."""
    elements: list[CreateTable | CreateIndex] = []
    for table in _metadata.sorted_tables:
        elements.append(CreateTable(table))
        elements += [CreateIndex(index) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    return [
        *(str(element.compile(dialect=DIALECT)) for element in elements),
        *TRIGGERS,
        f"INSERT INTO alembic_version (version_num) VALUES ('{VERSION:04d}')",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ]
