"""The one table of wire codes, and the list of all reasons: complete, current, and the same as the document."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage import errors
from moorage.accounts.model import PERMISSIONS
from moorage.dialects.reasons import REASONS
from moorage.dialects.refusals import BY_CLASS, BY_REASON, WireError, reasons_document, wire_error
from moorage.errors import (
    Exhausted,
    Forbidden,
    Invalid,
    NotFound,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from moorage.pki.policy import ANCHOR_RULES, ISSUER_KEY

ROOT = Path(__file__).parents[3]
SOURCES = sorted((ROOT / "src" / "moorage").rglob("*.py"))
DOTTED = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")
# Dotted texts that are not reasons. A text that is neither here nor in REASONS fails the test below.
FILE_NAMES = {
    "picture.png",
    "tiles.json",
    "model.json",
    "manifest.json",
    "devices.csv",
    "attempts.db",
    "devices.txt",
    "hub.json",
    "moorage.db",
    "series.db",
    "moorage.toml",
    "owner.key",
    "registry.db",
    "secrets.key",
    "zoo.json",
}
EVENT_KINDS = {
    "anchors.removed",
    "anchors.replaced",
    "configurations.changed",
    "enrollment_groups.changed",
    "feedback.waiting",
    "file_notification.waiting",
    "identity.created",
    "identity.updated",
    "message.enqueued",
    "policies.changed",
    "revocation.changed",
    "routing.changed",
    "session.claimed",
    "template.changed",
    "twin.desired",
    "user.changed",
    "waivers.changed",
}
AUDIT_AND_LOG = {
    "device_group.changed",
    "device_group.created",
    "device_group.deleted",
    "manifest.created",
    "manifest.updated",
    "manifest.deleted",
    "rule.created",
    "rule.updated",
    "rule.deleted",
    "rule.switched",
    "export.created",
    "export.updated",
    "export.deleted",
    "export.switched",
    "destination.created",
    "destination.updated",
    "destination.deleted",
    "job.created",
    "job.stopped",
    "job.resumed",
    "job.rerun",
    "job.halted",
    "schedule.halted",
    "operation.halted",
    "schedule.created",
    "schedule.updated",
    "schedule.deleted",
    "rules.changed",
    "exports.changed",
    "alias.deleted",
    "alias.stored",
    "command.run",
    "device.attached",
    "file.deleted",
    "properties.set",
    "crl.added",
    "crl.configured",
    "crl.forgotten",
    "crl.missing",
    "crl.nearly_overdue",
    "crl.overdue",
    "endpoint.deleted",
    "endpoint.stored",
    "enrichment.deleted",
    "enrichment.stored",
    "events.switched",
    "fallback.set",
    "route.deleted",
    "route.stored",
    "allocation_policy.set",
    "device.approved",
    "device.assigned",
    "device.blocked",
    "device.changed",
    "device.cloud_properties_changed",
    "device.deleted",
    "device.deployed",
    "device.migrated",
    "device.registered",
    "device.unblocked",
    "devices.exported",
    "fleet.auto_approve",
    "moorage.fleet",
    "file_notifications.switched",
    "device.moved",
    "device.reauthenticated",
    "enrollment.code_issued",
    "enrollment.proven",
    "enrollment.vouched",
    "linked_hub.put",
    "linked_hub.removed",
    "linked_hubs.replaced",
    "registration.deleted",
    "ca.code_generated",
    "ca.deleted",
    "ca.proven",
    "ca.replaced",
    "ca.uploaded",
    "moorage.api",
    "moorage.api.application",
    "moorage.audit",
    "resource.tagged",
    "consumer_group.created",
    "consumer_group.deleted",
    "policy.created",
    "policy.deleted",
    "policy.updated",
    "sas.switched",
    "template.created",
    "template.deleted",
    "template.draft_discarded",
    "template.published",
    "template.saved",
    "template.versioned",
    "transfer.cancelled",
    "transfer.created",
    "store.rollback_failed",
    "api_token.created",
    "api_token.deleted",
    "application.customized",
    "application.renamed",
    "audit.db",
    "customization.changed",
    "audit.lost",
    "log.line",
    "organization.changed",
    "organization.created",
    "organization.deleted",
    "organization.devices_moved",
    "organizations.changed",
    "role.changed",
    "role.created",
    "role.deleted",
    "roles.changed",
    "user.changed",
    "user.deleted",
    "user.came",
    "user.invited",
    "user.link_made",
    "user.password_chosen",
    "user.refused",
    "user.signed_in",
    "user.signed_out",
    "moorage.web",
    "calendar.address_made",
    "enrollment.roll_undone",
    "enrollment.rolled",
    "waiver.given",
}
PERMITTED = {permission for permissions in PERMISSIONS.values() for permission in permissions}
DOORS = {"dps.amqp", "dps.https", "dps.mqtt", "hub.amqp", "hub.https", "hub.mqtt"}
CHECKS = {"device.admitted", "enrollment.group", "enrollment.individual", "tpm.challenge"}
MEMBERS = {
    "silence.kind",
    "silence.minutes",
    "message.body",
    "properties.routing",
    "properties.routing.endpoints",
    "properties.routing.fallbackRoute",
    "twin.properties",
    "twin.tags",
    "metrics.queries",
    "attestation.tpm",
    "attestation.type",
    "attestation.x509",
    "authentication.type",
    "properties.desired",
    "properties.reported",
    # Of the Central API.
    "authorization.type",
    "authorization.value",
    "schedule.end",
    "schedule.end.date",
    "schedule.end.type",
    "schedule.recurrence",
    "schedule.start",
}
OTHER = {
    "http.disconnect",
    "http.request",
    "http.response.body",
    "http.response.start",
    "moorage.http",
    "moorage.tls",
    "store.key_check",
    "store.probe",
    "store.writes_again",
}
# Collections of the query language, and columns of the SQL that is made of it.
QUERIES = {
    "devices.device_id",
    "devices.hub_id",
    "c.status",
    "devices.jobs",
    "devices.modules",
    "i.device_id",
    "i.device_scope",
    "i.is_edge",
    "i.module_id",
    "i.primary_thumbprint",
    "i.secondary_thumbprint",
    "i.status",
    "i.status_reason",
    "t.tags",
    "x.device_id",
    "x.device_scope",
    "x.model_id",
    "x.module_id",
    "x.status",
}
# Names that the zoo's certificates are for.
HOSTS = {"lab.example", "plant.example"}
# What `moorage doctor` says of files; no hub refuses for it.
DOCTOR = {
    "chain.ends_soon",
    "chain.own_key",
    "pfx.ber",
    "chain.order",
    "chain.self_signed",
    "chain.unrelated",
    "chain.waived",
    "chain.wrong_key",
}
NOT_REASONS = (
    PERMITTED | FILE_NAMES | EVENT_KINDS | AUDIT_AND_LOG | DOORS | CHECKS | MEMBERS | OTHER | QUERIES | HOSTS | DOCTOR
)
PAGE_FILES = (".css", ".html", ".js", ".svg")


def dotted_texts() -> Iterator[tuple[str, str]]:
    """(text, where) of every dotted text constant in the sources, the list of reasons itself left out."""
    for path in SOURCES:
        if path.name in ("reasons.py", "refusals.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and DOTTED.fullmatch(node.value):
                if node.value.endswith(PAGE_FILES):
                    continue
                yield node.value, f"{path.relative_to(ROOT)}:{node.lineno}"


# Reasons that are put together: `{kind}.missing` and so on (pki/inputs.py), `ca.` and a rule (pki/policy.py).
COMPOSED = {
    f"{kind}.{what}" for kind in ("certificate", "csr") for what in ("malformed", "missing", "private_key", "too_large")
} | {f"ca.{rule.reason.removeprefix('chain.')}" for rule in (ISSUER_KEY, *ANCHOR_RULES)}


def test_every_reason_in_the_sources_is_listed() -> None:
    unlisted = {text: where for text, where in dotted_texts() if text not in REASONS and text not in NOT_REASONS}
    assert not unlisted, "add it to src/moorage/dialects/reasons.py, or to NOT_REASONS if it is none"
    assert sorted(COMPOSED - set(REASONS)) == []


def test_every_listed_reason_is_given_somewhere() -> None:
    used = {text for text, _ in dotted_texts()} | COMPOSED
    assert sorted(set(REASONS) - used) == []
    assert sorted(set(BY_REASON) - set(REASONS)) == []


def test_the_document_is_current() -> None:
    document = (ROOT / "docs" / "reference" / "reasons.md").read_text()
    assert document.endswith(reasons_document()), "run `make reference`"


def test_every_class_of_refusal_has_a_row() -> None:
    classes = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Refusal)}
    assert classes == set(BY_CLASS)


def test_every_sentence_ends_and_is_one_line() -> None:
    for reason, entry in REASONS.items():
        assert entry.sentence.endswith("."), reason
        assert "\n" not in entry.sentence and "|" not in entry.sentence, reason


@pytest.mark.parametrize("error", [*BY_CLASS.values(), *BY_REASON.values()], ids=lambda error: str(error.code))
def test_codes_carry_their_http_status_and_connect_never_ends_a_c_device_for_good(error: WireError) -> None:
    assert 400 <= error.status <= 504
    assert 400 <= error.dps_status <= 504
    assert error.return_code in (3, 5)
    assert re.fullmatch(r"[A-Z][A-Za-z]+", error.name)


def test_one_name_belongs_to_one_code() -> None:
    """C# gives up on an answer whose header and body do not agree (services.md 2.12)."""
    by_name: dict[str, set[int]] = {}
    for error in (*BY_CLASS.values(), *BY_REASON.values()):
        by_name.setdefault(error.name, set()).add(error.code)
    assert {name: codes for name, codes in by_name.items() if len(codes) > 1} == {}


@pytest.mark.parametrize(
    ("refusal", "code", "dps_code", "return_code"),
    [
        (Unauthenticated("identity.unknown", ""), 401002, 401002, 5),
        (Unauthenticated("chain.untrusted", ""), 401002, 401002, 5),
        (Unauthenticated("token.expired", ""), 401003, 401002, 5),
        (Forbidden("token.policy_rights", ""), 401002, 401002, 5),
        (NotFound("device.not_found", ""), 404001, 404201, 5),
        (NotFound("module.not_found", ""), 404010, 404201, 5),
        (NotFound("device.not_online", ""), 404103, 404201, 5),
        (Invalid("anything.new", ""), 400004, 400004, 5),
        (TooLarge("message.queue_full", ""), 403004, 403004, 5),
        (Unavailable("method.timeout", ""), 504101, 504101, 3),
        (Unavailable("log.backlog", ""), 503001, 503001, 3),
        (Exhausted("telemetry.followers", "", retry_after_s=1), 429001, 429001, 3),
    ],
)
def test_a_refusal_is_looked_up_by_reason_then_by_class(
    refusal: Refusal, code: int, dps_code: int, return_code: int
) -> None:
    error = wire_error(refusal)
    assert (error.code, error.dps_code, error.return_code) == (code, dps_code, return_code)


def test_a_class_of_its_own_is_looked_up_by_its_base() -> None:
    class Special(NotFound):
        """A refusal that some module derives."""

    assert wire_error(Special("a.b", "")) == BY_CLASS[NotFound]
