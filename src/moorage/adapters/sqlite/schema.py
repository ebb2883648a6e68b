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

from moorage.adapters.sqlite.application_schema import RECORD_TRIGGERS
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
    "APPLICATION_ID",
    "DIALECT",
    "TRIGGERS",
    "VERSION",
    "activity",
    "alembic_version",
    "cas",
    "configuration_marks",
    "configuration_work",
    "configurations",
    "consumer_groups",
    "counters",
    "create_statements",
    "crl_issuers",
    "dead_letters",
    "device_counts",
    "enrollment_groups",
    "feedback",
    "file_notifications",
    "file_uploads",
    "identities",
    "individual_enrollments",
    "job_devices",
    "jobs",
    "linked_hubs",
    "messages",
    "mqtt_sessions",
    "notifications",
    "ocsp_revocations",
    "outbox",
    "policies",
    "refused_lines",
    "registrations",
    "revocation_list_parts",
    "revocation_lists",
    "routing",
    "routing_cursors",
    "sas_switches",
    "settings",
    "twin_configurations",
    "twins",
    "waivers",
]

# The newest migration; its revision is this number with four digits.
VERSION = 7
# "MOOR", in the file's header: tells our database from anybody else's.
APPLICATION_ID = 0x4D4F4F52

DIALECT = sqlite.dialect(paramstyle="qmark")


identities = table(
    "identities",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    text("generation_id"),
    integer("version"),
    text("status"),
    maybe_text("status_reason"),
    maybe_integer("status_updated"),
    text("authentication"),
    maybe_text("primary_thumbprint"),
    maybe_text("secondary_thumbprint"),
    maybe_text("enrollment_group"),
    maybe_blob("sealed"),
    integer("is_edge"),
    maybe_text("device_scope"),
    maybe_text("parent_scopes"),
    maybe_text("managed_by"),
    integer("created"),
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

policies = table("policies", key("hub_id"), key("scope"), key("name"), text("rights"), maybe_blob("sealed"))

sas_switches = table(
    "sas_switches",
    key("hub_id"),
    integer("disable_local_auth"),
    integer("disable_device_sas"),
    integer("disable_module_sas"),
)

cas = table(
    "cas",
    key("hub_id"),
    key("registry"),
    key("key"),
    text("name"),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    text("proof"),
    integer("version"),
    integer("created"),
    integer("updated"),
    maybe_text("code"),
    maybe_integer("code_expires"),
)

twins = table(
    "twins",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    integer("version"),
    text("tags"),
    text("desired"),
    text("desired_metadata"),
    integer("desired_version"),
    text("reported"),
    text("reported_metadata"),
    integer("reported_version"),
    maybe_text("model_id"),
    of_an_identity(),
    with_rowid=True,
)

sa.Index(
    "ix_twins_model",
    *(twins.c[column] for column in ("hub_id", "model_id", "device_id", "module_id")),
    sqlite_where=twins.c.model_id.is_not(None),
)

# Every tag of every twin, for queries; see terms.py.
tag_terms = table(
    "tag_terms",
    key("hub_id"),
    key("path"),
    key("term"),
    key("device_id"),
    key("module_id"),
)

messages = table(
    "messages",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    text("message_id"),
    integer("enqueued"),
    integer("expires"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    text("properties"),
    maybe_text("correlation_id"),
    maybe_text("user_id"),
    maybe_text("content_type"),
    maybe_text("content_encoding"),
    text("ack"),
    integer("delivery_count"),
    of_an_identity(),
    with_rowid=True,
)

# What expires first, whatever queue it is in.
sa.Index("ix_messages_expires", messages.c.hub_id, messages.c.expires)

# It outlives the device that it is about.
feedback = table(
    "feedback",
    key("hub_id"),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    text("message_id"),
    text("device_id"),
    text("module_id"),
    text("generation_id"),
    integer("recorded"),
    text("outcome"),
    integer("deliveries"),
    maybe_text("lock"),
    maybe_integer("locked_until"),
)
sa.Index("ix_feedback_lock", feedback.c.hub_id, feedback.c.lock, sqlite_where=feedback.c.lock.is_not(None))

# Begun and not ended. `signature` is a digest of what lets somebody write the blob, `commit_id` of what was put there.
file_uploads = table(
    "file_uploads",
    key("hub_id"),
    key("correlation_id"),
    text("device_id"),
    text("blob_name"),
    text("signature"),
    integer("created"),
    integer("expires"),
    maybe_integer("size"),
    maybe_integer("committed"),
    maybe_text("commit_id"),
    maybe_text("begun_by"),
)
sa.Index("ix_file_uploads_signature", file_uploads.c.hub_id, file_uploads.c.signature, unique=True)
sa.Index("ix_file_uploads_device", file_uploads.c.hub_id, file_uploads.c.device_id)
sa.Index("ix_file_uploads_expires", file_uploads.c.hub_id, file_uploads.c.expires)

file_notifications = table(
    "file_notifications",
    key("hub_id"),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    text("device_id"),
    text("blob_uri"),
    text("blob_name"),
    integer("size"),
    integer("updated"),
    integer("recorded"),
    integer("deliveries"),
    maybe_text("lock"),
    maybe_integer("locked_until"),
)
sa.Index(
    "ix_file_notifications_lock",
    file_notifications.c.hub_id,
    file_notifications.c.lock,
    sqlite_where=file_notifications.c.lock.is_not(None),
)

mqtt_sessions = table(
    "mqtt_sessions",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    text("subscriptions"),
    of_an_identity(),
)

activity = table(
    "activity",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    maybe_integer("connected"),
    maybe_integer("last_activity"),
    integer("updated"),
    of_an_identity(),
)


def _enrollment(name: str, *own: sa.Column[Any]) -> sa.Table:
    return table(
        name,
        key("hub_id"),
        key("key"),
        text("name"),
        integer("version"),
        text("status"),
        integer("created"),
        integer("updated"),
        text("attestation"),
        maybe_blob("sealed"),
        text("allocation"),
        text("linked_hubs"),
        integer("update_hub_assignment"),
        integer("migrate_device_data"),
        text("initial_tags"),
        text("initial_desired"),
        integer("is_edge"),
        maybe_text("webhook_url"),
        maybe_text("webhook_api_version"),
        *own,
        with_rowid=True,
    )


individual_enrollments = _enrollment(
    "individual_enrollments", maybe_text("device_id"), maybe_text("device_information")
)
enrollment_groups = _enrollment("enrollment_groups", maybe_text("display_name"))

registrations = table(
    "registrations",
    key("hub_id"),
    key("key"),
    text("registration_id"),
    text("operation_id"),
    text("status"),
    integer("created"),
    integer("updated"),
    integer("version"),
    text("attestation_kind"),
    maybe_text("group_key"),
    maybe_text("group_id"),
    maybe_text("substatus"),
    maybe_text("assigned_hub"),
    maybe_text("device_id"),
    maybe_integer("error_code"),
    maybe_text("error_message"),
    maybe_text("payload"),
    # What the device sent along, for as long as it is being placed by somebody who wants to see it.
    maybe_text("request_payload"),
)
sa.Index("ix_registrations_group", registrations.c.hub_id, registrations.c.group_key, registrations.c.key)

# Hubs that devices can be assigned to; `key` is '' for the hub that the provisioning service belongs to.
linked_hubs = table(
    "linked_hubs",
    key("hub_id"),
    key("key"),
    text("host_name"),
    maybe_blob("sealed"),
    text("location"),
    integer("weight"),
    integer("applies_policy"),
    integer("position"),
    integer("created"),
    integer("updated"),
)

jobs = table(
    "jobs",
    key("hub_id"),
    key("job_id"),
    text("kind"),
    text("work"),
    maybe_text("condition"),
    maybe_text("device_ids"),
    integer("created"),
    integer("start"),
    integer("max_execution_s"),
    text("status"),
    text("runner"),
    maybe_integer("started"),
    maybe_integer("ended"),
    maybe_text("failure_reason"),
    maybe_text("status_message"),
    integer("is_frozen"),
    maybe_text("frozen_up_to"),
    integer("devices"),
    integer("succeeded"),
    integer("failed"),
    integer("running"),
    integer("pending"),
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
job_devices = table(
    "job_devices",
    key("hub_id"),
    key("job_id"),
    key("device_id"),
    text("status"),
    integer("updated"),
    maybe_integer("started"),
    maybe_integer("ended"),
    maybe_integer("reply_status"),
    maybe_text("reply_payload"),
    maybe_text("reason"),
    maybe_text("message"),
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

configurations = table(
    "configurations",
    key("hub_id"),
    key("id"),
    integer("version"),
    text("schema_version"),
    text("content"),
    text("target_condition"),
    integer("priority"),
    text("labels"),
    text("metrics"),
    integer("created"),
    integer("updated"),
    # Whether its target condition can change when a device reports: asked for each report.
    integer("hears_reports"),
    with_rowid=True,
)
sa.Index("ix_configurations_hearing", configurations.c.hub_id, configurations.c.hears_reports)

# What of which configuration an identity has. `is_deployed` rows come from an edge deployment on the device.
twin_configurations = table(
    "twin_configurations",
    key("hub_id"),
    key("device_id"),
    key("module_id"),
    key("configuration_id"),
    text("status"),
    text("holds"),
    integer("is_deployed"),
    of_an_identity(),
)
sa.Index(
    "ix_twin_configurations_configuration",
    *(
        twin_configurations.c[column]
        for column in ("hub_id", "configuration_id", "device_id", "module_id", "status", "is_deployed")
    ),
)

# Identities that have to be looked at again, because they or their twin changed.
configuration_marks = table("configuration_marks", key("hub_id"), key("device_id"), key("module_id"), of_an_identity())

# Configurations that have to be looked at again, and how far that came.
configuration_work = table(
    "configuration_work",
    key("hub_id"),
    key("configuration_id"),
    integer("sequence"),
    text("phase"),
    maybe_text("after_device"),
    maybe_text("after_module"),
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
TRIGGERS = (
    _TAG_TRIGGERS
    + _COUNT_TRIGGERS
    + RECORD_TRIGGERS
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
transfers = table(
    "transfers",
    key("hub_id"),
    key("job_id"),
    text("kind"),
    text("status"),
    integer("created"),
    maybe_integer("ended"),
    text("input_blob"),
    text("output_blob"),
    integer("with_keys"),
    integer("progress"),
    maybe_text("failure"),
    text("checkpoint"),
    maybe_blob("sealed"),
)

# Lines of a running import; they go once its log is written.
refused_lines = table(
    "refused_lines",
    key("hub_id"),
    key("job_id"),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
    text("report"),
    integer("waits"),
)

consumer_groups = table("consumer_groups", key("hub_id"), key("key"), text("name"), integer("created"))

# Whose revocation lists are looked at. A URL is an operator's, never a certificate's.
crl_issuers = table(
    "crl_issuers",
    key("hub_id"),
    key("issuer_id"),
    sa.Column("certificate", sa.LargeBinary, nullable=False),
    maybe_text("policy"),
    maybe_text("crl_url"),
    maybe_text("ocsp_url"),
    maybe_integer("fetched"),
    maybe_text("failed"),
    integer("failures"),
    maybe_integer("next_fetch"),
    maybe_text("etag"),
)

# A list without its entries; its number is decimal digits, and may have 49 of them.
revocation_lists = table(
    "revocation_lists",
    key("hub_id"),
    key("list_id"),
    text("issuer_id"),
    text("slot"),
    text("kind"),
    text("number"),
    integer("this_update"),
    integer("next_update"),
    integer("entries"),
    sa.Column("signer", sa.LargeBinary, nullable=False),
    integer("added"),
)

# The packed bytes of lists, written before the list itself: a large one is many transactions.
revocation_list_parts = table(
    "revocation_list_parts",
    key("hub_id"),
    key("list_id"),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    with_rowid=True,
)

# Certificates that a responder called revoked, while its answer holds.
ocsp_revocations = table(
    "ocsp_revocations",
    key("hub_id"),
    key("issuer"),
    key("serial"),
    text("reason"),
    integer("date"),
    text("source"),
    integer("until"),
)

# The weaknesses of certificates that a hub puts up with.
waivers = table("waivers", key("hub_id"), key("name"))

# How many devices there are, kept by triggers: counting a hundred thousand takes longer than a page may.
device_counts = table("device_counts", key("hub_id"), key("status"), integer("devices"))

# Numbers that only grow.
counters = table("counters", key("hub_id"), key("name"), integer("value"))

# Of one hub, or of the whole installation where `hub_id` is ''.
settings = table("settings", key("hub_id"), key("key"), text("value"))

# Events that were committed and, as far as this file knows, not yet published.
outbox = table(
    "outbox",
    sa.Column("sequence", sa.Integer, primary_key=True),
    text("hub_id"),
    text("kind"),
    text("subject"),
    text("data"),
    with_rowid=True,
)

# What the hub has to tell back ends and has not put into the telemetry log yet. A job has no device.
notifications = table(
    "notifications",
    sa.Column("sequence", sa.Integer, primary_key=True),
    text("hub_id"),
    text("source"),
    text("operation"),
    text("device_id"),
    text("module_id"),
    maybe_integer("at"),
    text("correlation_id"),
    text("facts"),
    with_rowid=True,
)

# Where messages go: all of a hub's routing as one document; `sealed` has addresses and credentials of its endpoints.
routing = table("routing", key("hub_id"), text("document"), maybe_blob("sealed"))

# For each endpoint the place in the telemetry log from which on nothing was delivered.
routing_cursors = table("routing_cursors", key("hub_id"), key("endpoint"), integer("place"))

# Messages that an endpoint did not take.
dead_letters = table(
    "dead_letters",
    sa.Column("number", sa.Integer, primary_key=True),
    text("hub_id"),
    text("endpoint"),
    integer("at"),
    text("device_id"),
    integer("place"),
    text("reason"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    with_rowid=True,
)
sa.Index("ix_dead_letters_endpoint", dead_letters.c.hub_id, dead_letters.c.endpoint)

# Alembic's own, in Alembic's own shape: which migration this database is at.
alembic_version = sa.Table(
    "alembic_version",
    METADATA,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def create_statements() -> list[str]:
    """The SQL that makes an empty file a current database."""
    elements: list[CreateTable | CreateIndex] = []
    for each in METADATA.sorted_tables:
        elements.append(CreateTable(each))
        elements += [CreateIndex(index) for index in sorted(each.indexes, key=lambda index: str(index.name))]
    return [
        *(str(element.compile(dialect=DIALECT)) for element in elements),
        *TRIGGERS,
        f"INSERT INTO alembic_version (version_num) VALUES ('{VERSION:04d}')",
        f"PRAGMA application_id = {APPLICATION_ID}",
    ]
