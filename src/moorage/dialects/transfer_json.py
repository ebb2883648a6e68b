"""Import and export jobs in the service's JSON: `JobProperties` (contract/services.md 2.11, jobs v1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from moorage.dialects.bulk_json import encode_line, error_json, parse_line
from moorage.dialects.json_text import encode_json
from moorage.dialects.members import get_boolean, get_text
from moorage.dialects.times import format_time
from moorage.errors import Invalid, Refusal
from moorage.hub.bulk import BulkItem
from moorage.hub.model import Twin
from moorage.hub.transfer_model import Transfer
from moorage.hub.transfers import DEFAULT_BLOB, TransferDraft
from moorage.identities.model import Identity
from moorage.ids import IdentityName, Secret

__all__ = ["LineCodec", "parse_transfer", "transfer_json"]

# Members of a shared access signature that let nobody in by themselves; others may, whatever their name or spelling.
_HARMLESS: Final = frozenset("sv ss srt sp se st spr sr sip si sdd sks ske skoid sktid skt skv api-version".split())


class LineCodec:
    """Port: `hub.transfer_runs.Codec`."""

    def parse(self, line: bytes) -> BulkItem:
        return parse_line(line)

    def report(self, number: int, name: IdentityName | None, refusal: Refusal) -> str:
        named: dict[str, str] = {} if name is None else {"deviceId": name.device_id}
        if name is not None and name.module_id is not None:
            named["moduleId"] = name.module_id
        return encode_json({"line": number, **named, **error_json(refusal)}).decode()

    def encode(self, identity: Identity, twin: Twin | None, *, with_keys: bool) -> bytes:
        return encode_line(identity, twin, with_keys=with_keys)


def parse_transfer(body: Mapping[str, Any]) -> TransferDraft:
    """What `POST /jobs/create` asks for.

    Raises `Invalid`: `transfer.kind`, `transfer.container`, `transfer.identity`, `transfer.configurations`,
    `body.member`.
    """
    kind = (get_text(body, "type") or "").lower()
    if kind not in ("import", "export"):
        raise Invalid("transfer.kind", f"type is {kind[:40]!r}, it has to be import or export")
    storage = get_text(body, "storageAuthenticationType") or "keyBased"
    if storage.lower() != "keybased":
        raise Invalid(
            "transfer.identity",
            f"storageAuthenticationType is {storage[:40]!r}; this hub has no identity with a storage account",
            fix="give containers by URIs with a signature, and keyBased",
        )
    if get_boolean(body, "includeConfigurations", "includeConfigurations", default=False):
        raise Invalid(
            "transfer.configurations",
            "includeConfigurations is set; imports and exports are of devices and modules alone",
            fix="read them with GET /configurations and write them with PUT",
        )
    output = _container(body, "outputBlobContainerUri")
    if kind == "export":
        without_keys = get_boolean(body, "excludeKeysInExport", "excludeKeysInExport", default=False)
        blob = get_text(body, "outputBlobName") or DEFAULT_BLOB
        return TransferDraft("export", output, blob, with_keys=not without_keys)
    blob = get_text(body, "inputBlobName") or DEFAULT_BLOB
    return TransferDraft("import", output, input=_container(body, "inputBlobContainerUri"), input_blob=blob)


def transfer_json(transfer: Transfer) -> dict[str, Any]:
    """`JobProperties`. Signatures in URIs are stars: whoever may read the registry may not therefore write there."""
    is_import = transfer.kind == "import"
    return {
        "jobId": transfer.job_id,
        "type": transfer.kind,
        "status": transfer.status,
        "progress": transfer.progress,
        "startTimeUtc": format_time(transfer.created),
        "endTimeUtc": None if transfer.ended is None else format_time(transfer.ended),
        "inputBlobContainerUri": _masked(transfer.input) if is_import else None,
        "inputBlobName": transfer.input_blob if is_import else None,
        "outputBlobContainerUri": _masked(transfer.output),
        "outputBlobName": None if is_import else transfer.output_blob,
        "excludeKeysInExport": not transfer.with_keys,
        "storageAuthenticationType": "keyBased",
        "failureReason": transfer.failure,
        "includeConfigurations": False,
        "configurationsBlobName": None,
    }


def _container(body: Mapping[str, Any], member: str) -> Secret:
    text = get_text(body, member)
    if not text:
        raise Invalid("transfer.container", f"{member} is missing")
    return Secret(text)


def _masked(container: Secret) -> str:
    place, question, query = container.reveal().partition("?")
    return place + question + "&".join(map(_masked_member, query.split("&")))


def _masked_member(member: str) -> str:
    name, equals, _ = member.partition("=")
    if not member or (equals and name in _HARMLESS):
        return member
    return f"{name}=*****" if equals else "*****"
