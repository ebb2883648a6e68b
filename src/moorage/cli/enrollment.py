"""`moorage enrollment` and `moorage enrollment-group`: who may provision (contract/services.md 6)."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from moorage.cli.arguments import ALLOCATIONS, Spelled
from moorage.cli.commands import Group, Invocation, pass_invocation
from moorage.cli.output import escape, print_json, print_table
from moorage.cli.tpm_keys import tpm_keys

if TYPE_CHECKING:
    from moorage.cli.hub_client import HubClient

__all__ = ["enrollment", "enrollment_group"]

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_REPROVISIONING = {"migrate": (True, True), "reset": (True, False), "never": (False, False)}


@dataclass(frozen=True, slots=True)
class _Kind:
    """What tells the two collections apart. `slots` is the attestation member that holds certificates."""

    noun: str
    command: str
    path: str
    id_member: str
    slots: str


_INDIVIDUAL = _Kind("enrollment", "enrollment", "/enrollments", "registrationId", "clientCertificates")
_GROUP = _Kind("enrollment group", "enrollment-group", "/enrollmentGroups", "enrollmentGroupId", "signingCertificates")

_Function = Callable[..., None]
_ALLOCATIONS = Spelled({**ALLOCATIONS, "custom": "custom"})
_NO_HOOK = "--allocation custom asks a web hook: give --webhook FILE, with its URL in FILE"
# What a web hook is asked in; Azure's newest.
_HOOK_VERSION = "2021-10-01"
_MAX_URL_FILE = 8192


def _certificate_options(function: _Function) -> _Function:
    function = click.option("--secondary", type=_FILE, help="The certificate it rolls to, or from.")(function)
    return click.option("--certificate", type=_FILE, help="PEM or DER; never its key.")(function)


def _tpm_options(function: _Function) -> _Function:
    function = click.option(
        "--storage-root-key", metavar="KEY", help="With --tpm: admit the TPM only as long as it has this owner's key."
    )(function)
    return click.option(
        "--tpm",
        metavar="KEY",
        help="Attest by the TPM with this endorsement key: a file with its TPM2B_PUBLIC, as tpm2_createek writes it, "
        "or that in base64.",
    )(function)


def _ca_options(function: _Function) -> _Function:
    function = click.option("--secondary-ca", metavar="NAME", help="The CA it rolls to, or from.")(function)
    return click.option("--ca", "ca_name", metavar="NAME", help="Of a proven CA (moorage ca list), instead of a file.")(
        function
    )


def _reprovision_option(default: str | None) -> Callable[[_Function], _Function]:
    return click.option(
        "--reprovision",
        type=click.Choice(list(_REPROVISIONING)),
        default=default,
        show_default=default is not None,
        help="What becomes of the twin when a device provisions again.",
    )


def _allocation_options(function: _Function) -> _Function:
    """Where devices go."""
    for option in (
        click.option(
            "--webhook",
            type=click.File("r", lazy=True),
            metavar="FILE",
            help="Ask the web hook whose URL is in FILE (- is standard input): the URL often holds a key.",
        ),
        click.option(
            "--hub",
            "hubs",
            multiple=True,
            metavar="HOST",
            help="Only to this linked hub. Can be repeated.",
        ),
        click.option(
            "--allocation",
            type=_ALLOCATIONS,
            help="How a hub is chosen; static takes the first --hub, or without one the first linked hub.  "
            "[default: that of the service]",
        ),
    ):
        function = option(function)
    return function


def _creation_options(function: _Function) -> _Function:
    for option in (
        click.option("--disabled", is_flag=True, help="Admit nobody yet."),
        click.option("--edge", is_flag=True, help="Devices made through it are IoT Edge devices."),
        click.option("--desired", metavar="JSON", help="Desired properties of a new device."),
        _reprovision_option("migrate"),
        click.option("--symmetric-key", is_flag=True, help="Attest by key; the hub makes the keys and prints them."),
    ):
        function = option(function)
    return _certificate_options(_allocation_options(function))


@click.group(cls=Group)
def enrollment() -> None:
    """Enroll one device for provisioning."""


@enrollment.command("create")
@click.argument("registration_id", metavar="ID")
@_creation_options
@_tpm_options
@click.option("--device-id", help="Name of the device.  [default: ID]")
@pass_invocation
def create_enrollment(
    invocation: Invocation,
    /,
    registration_id: str,
    certificate: Path | None,
    secondary: Path | None,
    symmetric_key: bool,
    tpm: str | None,
    storage_root_key: str | None,
    device_id: str | None,
    **shared: Any,
) -> None:
    """Let one device with the registration id ID provision, by its own certificate, by a key or by its TPM."""
    from moorage.ids import parse_device_id, parse_registration_id

    parse_registration_id(registration_id)
    if [certificate is not None, symmetric_key, tpm is not None].count(True) != 1:
        raise click.UsageError("give one of --certificate, --symmetric-key and --tpm")
    if secondary is not None and certificate is None:
        raise click.UsageError("--secondary goes with --certificate")
    if symmetric_key:
        attestation = _by_key()
    elif certificate is not None:
        attestation = _by_certificates(_INDIVIDUAL, certificate, secondary)
    else:
        attestation = {"type": "tpm", "tpm": tpm_keys(tpm, storage_root_key)}
    body = {"registrationId": registration_id, "attestation": attestation, **_shared(**shared)}
    if device_id is not None:
        body["deviceId"] = parse_device_id(device_id)
    _create(invocation, _INDIVIDUAL, registration_id, body)


@click.group("enrollment-group", cls=Group)
def enrollment_group() -> None:
    """Enroll many devices for provisioning."""


@enrollment_group.command("create")
@click.argument("group_id", metavar="NAME")
@_creation_options
@_ca_options
@pass_invocation
def create_group(
    invocation: Invocation,
    /,
    group_id: str,
    certificate: Path | None,
    secondary: Path | None,
    symmetric_key: bool,
    ca_name: str | None,
    secondary_ca: str | None,
    **shared: Any,
) -> None:
    """Let every device provision whose certificate was signed below a CA, or whose key was derived from the group's."""
    from moorage.ids import parse_enrollment_group_id

    parse_enrollment_group_id(group_id)
    if [certificate is not None, ca_name is not None, symmetric_key].count(True) != 1:
        raise click.UsageError("give one of --certificate, --ca and --symmetric-key")
    if secondary is not None and certificate is None:
        raise click.UsageError("--secondary goes with --certificate")
    if secondary_ca is not None and ca_name is None:
        raise click.UsageError("--secondary-ca goes with --ca")
    if ca_name is not None:
        references = {"primary": ca_name, "secondary": secondary_ca}
        attestation: dict[str, Any] = {"type": "x509", "x509": {"caReferences": references}}
    else:
        attestation = _by_key() if symmetric_key else _by_certificates(_GROUP, certificate, secondary)
    body = {"enrollmentGroupId": group_id, "attestation": attestation, **_shared(**shared)}
    _create(invocation, _GROUP, group_id, body)


def _add_common(group: click.Group, kind: _Kind, rolling_options: Callable[[_Function], _Function]) -> None:
    """The commands that are alike for both. `rolling_options` say what may stand in its slots."""

    @group.command("list", help=f"List {kind.noun}s.")
    @pass_invocation
    def list_all(invocation: Invocation) -> None:
        documents = invocation.hub().query_all(f"{kind.path}/query")
        if invocation.as_json:
            for document in documents:
                print_json(document)
            return
        print_table(
            ["id", "attestation", "status"],
            [[each[kind.id_member], each["attestation"]["type"], each["provisioningStatus"]] for each in documents],
        )

    @group.command("show", help=f"Show the {kind.noun} ID; keys are not in it.")
    @click.argument("identifier", metavar="ID")
    @pass_invocation
    def show(invocation: Invocation, identifier: str) -> None:
        print_json(invocation.hub().request("GET", _path(kind, identifier)))

    @group.command("update", help=f"Change the {kind.noun} ID: roll a certificate, enable, disable.")
    @click.argument("identifier", metavar="ID")
    @rolling_options
    @click.option(
        "--remove",
        "removed",
        type=click.Choice(["primary", "secondary"]),
        help="Empty this slot; devices that are connected through a group's certificate in it are cut.",
    )
    @click.option("--enable/--disable", "enabled", default=None, help="Admit devices, or nobody.")
    @_reprovision_option(None)
    @_allocation_options
    @pass_invocation
    def update(
        invocation: Invocation,
        identifier: str,
        certificate: Path | None,
        secondary: Path | None,
        removed: str | None,
        enabled: bool | None,
        reprovision: str | None,
        allocation: str | None,
        hubs: tuple[str, ...],
        webhook: IO[str] | None,
        ca_name: str | None = None,
        secondary_ca: str | None = None,
        tpm: str | None = None,
        storage_root_key: str | None = None,
    ) -> None:
        files = {"primary": certificate, "secondary": secondary}
        certificates = {slot: {"certificate": _encoded(file)} for slot, file in files.items() if file is not None}
        cas = {"primary": ca_name, "secondary": secondary_ca}
        references = {slot: name for slot, name in cas.items() if name is not None}
        placing = _placing(allocation, hubs, webhook)
        if reprovision is not None:
            placing["reprovisionPolicy"] = _reprovision_policy(reprovision)
        keys = tpm_keys(tpm, storage_root_key)
        if not certificates and not references and not placing and not keys and removed is None and enabled is None:
            raise click.UsageError(
                "nothing to change: give a certificate, a CA, a TPM, --remove, --enable, --disable, --reprovision, "
                "--allocation, --hub or --webhook"
            )
        if removed in certificates or removed in references:
            raise click.UsageError(f"--remove {removed} and something to put there")
        hub = invocation.hub()
        document = {**hub.request("GET", _path(kind, identifier)), **placing}
        if allocation == "custom" and not document.get("customAllocationDefinition"):
            raise click.UsageError(_NO_HOOK)
        if enabled is not None:
            document["provisioningStatus"] = "enabled" if enabled else "disabled"
        if keys and document["attestation"]["type"] != "tpm":
            raise click.UsageError(f"{identifier} does not attest by a TPM")
        if keys:
            document["attestation"]["tpm"] = keys
        # What GET gives and is sent back unchanged stays as stored (services.md P-3).
        x509 = document["attestation"].get("x509") or {}
        for member, changes, way in (
            (kind.slots, certificates, "certificates of its own"),
            ("caReferences", references, "registered CAs"),
        ):
            if changes and not x509.get(member):
                options = "--ca and --secondary-ca" if x509.get("caReferences") else "--certificate and --secondary"
                instead = f"its certificates roll with {options}" if x509 else "it has none"
                raise click.UsageError(f"{identifier} does not attest by {way}: {instead}")
            if changes:
                x509[member].update(changes)
        if removed is not None:
            filled = [slots for member in (kind.slots, "caReferences") if (slots := x509.get(member))]
            if not any(slots.get(removed) for slots in filled):
                raise click.UsageError(f"{identifier} has nothing in its slot {removed}")
            for slots in filled:
                slots[removed] = None
        changed = hub.request("PUT", _path(kind, identifier), body=document, if_match=document["etag"])
        invocation.report(changed, f"Updated {kind.noun} {escape(identifier)}.")

    @group.command("delete", help=f"Delete the {kind.noun} ID; devices made through it can no longer provision.")
    @click.argument("identifier", metavar="ID")
    @pass_invocation
    def delete(invocation: Invocation, identifier: str) -> None:
        invocation.hub().request("DELETE", _path(kind, identifier))
        invocation.report({kind.id_member: identifier, "deleted": True}, f"Deleted {kind.noun} {escape(identifier)}.")


_add_common(enrollment, _INDIVIDUAL, lambda function: _certificate_options(_tpm_options(function)))
_add_common(enrollment_group, _GROUP, lambda function: _certificate_options(_ca_options(function)))


_slot_option = click.option(
    "--slot",
    type=click.Choice(["primary", "secondary"]),
    default="primary",
    show_default=True,
    help="Which of its two.",
)


@enrollment_group.command("code")
@click.argument("group_id", metavar="NAME")
@_slot_option
@pass_invocation
def code(invocation: Invocation, group_id: str, slot: str) -> None:
    """Print a new verification code for a certificate of the group NAME; the one before stops working."""
    document = invocation.hub().request("POST", _slot_path(group_id, slot) + "/code")
    value = escape(document["verificationCode"])
    invocation.report(document, value)
    if not invocation.as_json:
        # Beside the code, which a script takes from standard output.
        click.echo(f"Next: moorage cert verification --issuer CA_FILE --issuer-key KEY --code {value}", err=True)
        command = f"moorage enrollment-group verify {escape(group_id)} verification_cert.pem" + _slot_given(slot)
        click.echo(f"      {command}", err=True)


@enrollment_group.command("verify")
@click.argument("group_id", metavar="NAME")
@click.argument("file", type=_FILE)
@_slot_option
@pass_invocation
def verify(invocation: Invocation, group_id: str, file: Path, slot: str) -> None:
    """Prove possession of the key of a certificate of the group NAME with the verification certificate in FILE."""
    body = {"certificate": _encoded(file)}
    document = invocation.hub().request("POST", _slot_path(group_id, slot) + "/verify", body=body)
    invocation.report(document, f"{_slot_named(document)} is proven.")


@enrollment_group.command("vouch")
@click.argument("group_id", metavar="NAME")
@_slot_option
@pass_invocation
def vouch(invocation: Invocation, group_id: str, slot: str) -> None:
    """Trust a certificate of the group NAME without proof."""
    document = invocation.hub().request("POST", _slot_path(group_id, slot) + "/vouch")
    invocation.report(document, f"{_slot_named(document)} is vouched for.")


def _slot_path(group_id: str, slot: str) -> str:
    from moorage.cli.hub_client import segment

    return f"/moorage/v1/enrollment-groups/{segment(group_id)}/certificates/{slot}"


def _slot_named(document: dict[str, Any]) -> str:
    where = f"{escape(document['slot'])} certificate of {escape(document['enrollmentGroupId'])}"
    return f"The {where} ({escape(document['subject'])})"


def _slot_given(slot: str) -> str:
    return "" if slot == "primary" else f" --slot {slot}"


def _path(kind: _Kind, identifier: str) -> str:
    from moorage.cli.hub_client import segment

    return f"{kind.path}/{segment(identifier)}"


def _create(invocation: Invocation, kind: _Kind, identifier: str, body: dict[str, Any]) -> None:
    hub = invocation.hub()
    made = hub.request("PUT", _path(kind, identifier), body=body)
    lines = [f"Created {kind.noun} {escape(identifier)}."]
    if body["attestation"]["type"] == "symmetricKey":
        made = {**made, "attestation": _keys(hub, kind, identifier)}
        keys = made["attestation"]["symmetricKey"]
        lines += [f"Primary key:   {escape(keys['primaryKey'])}", f"Secondary key: {escape(keys['secondaryKey'])}"]
    lines.append(f"Devices provision at {escape(hub.info.hostname)} with the id scope {escape(hub.info.id_scope)}.")
    if body.get("allocationPolicy") == "static" and not body.get("iotHubs"):
        lines.append("Without --hub all of them go to the first linked hub: moorage linked-hub list")
    slots = (body["attestation"].get("x509") or {}).get(_GROUP.slots) or {}
    for slot in slots:
        if not hub.request("GET", _slot_path(identifier, slot))["isVerified"]:
            command = f"moorage enrollment-group code {escape(identifier)}" + _slot_given(slot)
            lines.append(f"Its {slot} certificate admits nobody before its key is proven. Next: {command}")
    invocation.report(made, *lines)


def _keys(hub: HubClient, kind: _Kind, identifier: str) -> Any:
    return hub.request("POST", _path(kind, identifier) + "/attestationmechanism")


def _by_key() -> dict[str, Any]:
    return {"type": "symmetricKey", "symmetricKey": {"primaryKey": "", "secondaryKey": ""}}


def _by_certificates(kind: _Kind, primary: Path | None, secondary: Path | None) -> dict[str, Any]:
    slots = {
        slot: {"certificate": _encoded(file)}
        for slot, file in (("primary", primary), ("secondary", secondary))
        if file is not None
    }
    return {"type": "x509", "x509": {kind.slots: slots}}


def _encoded(file: Path) -> str:
    from moorage.cli.certificate_files import read_certificate

    return base64.b64encode(read_certificate(file).der).decode("ascii")


def _shared(
    *,
    reprovision: str,
    desired: str | None,
    edge: bool,
    disabled: bool,
    allocation: str | None,
    hubs: tuple[str, ...],
    webhook: IO[str] | None,
) -> dict[str, Any]:
    from moorage.cli.arguments import json_object

    if allocation == "custom" and webhook is None:
        raise click.UsageError(_NO_HOOK)
    members: dict[str, Any] = {
        "provisioningStatus": "disabled" if disabled else "enabled",
        "reprovisionPolicy": _reprovision_policy(reprovision),
        "capabilities": {"iotEdge": edge},
        **_placing(allocation, hubs, webhook),
    }
    if desired is not None:
        members["initialTwin"] = {"properties": {"desired": json_object(desired, "--desired")}}
    return members


def _reprovision_policy(choice: str) -> dict[str, bool]:
    update, migrate = _REPROVISIONING[choice]
    return {"updateHubAssignment": update, "migrateDeviceData": migrate}


def _placing(allocation: str | None, hubs: tuple[str, ...], webhook: IO[str] | None) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if webhook is not None:
        if allocation not in (None, "custom"):
            raise click.UsageError("--webhook goes with --allocation custom")
        members["allocationPolicy"] = "custom"
        url = webhook.read(_MAX_URL_FILE).strip()
        members["customAllocationDefinition"] = {"webhookUrl": url, "apiVersion": _HOOK_VERSION}
    elif allocation is not None:
        members["allocationPolicy"] = allocation
    if hubs:
        members["iotHubs"] = list(hubs)
    return members
