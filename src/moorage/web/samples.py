"""What a device's program is given so that it finds this hub: variables for the SDKs' samples, `config.toml` for IoT
Edge, and the code that a phone reads (contract/central.md 4.5, 4.6, IND-8).
"""

from __future__ import annotations

import json
import shlex
from typing import Final, Literal

from moorage.errors import Invalid
from moorage.hub_info import HubInfo
from moorage.ids import Secret
from moorage.pki.names import CertificateFiles, certificate_files, file_stem
from moorage.web.code import Code

__all__ = ["Credential", "edge_config", "files_of", "key_picture", "sample_variables"]

Credential = Literal["key", "certificate"]

_FOLDER: Final = "/etc/aziot/certificates"


def files_of(device_id: str) -> CertificateFiles:
    """What the tutorials' generator and `moorage cert device` call the files of this device."""
    try:
        return certificate_files(file_stem(device_id))
    except Invalid:
        # A name without a letter or digit, for which whoever makes the files has to choose one.
        return certificate_files("device")


def sample_variables(info: HubInfo, device_id: str, *, key: Secret | None = None) -> list[Code]:
    """The environment of the samples, for shells of Unix and of Windows; with `key`, or with certificate files."""
    variables = {
        "IOTHUB_DEVICE_SECURITY_TYPE": "DPS",
        "IOTHUB_DEVICE_DPS_ENDPOINT": info.hostname,
        "IOTHUB_DEVICE_DPS_ID_SCOPE": info.id_scope,
        "IOTHUB_DEVICE_DPS_DEVICE_ID": device_id,
    }
    if key is not None:
        variables["IOTHUB_DEVICE_DPS_DEVICE_KEY"] = key.reveal()
    else:
        files = files_of(device_id)
        variables["IOTHUB_DEVICE_X509_CERT"] = files.certificate
        variables["IOTHUB_DEVICE_X509_KEY"] = files.key
    return [
        Code("Linux, macOS", "sh", "\n".join(f"export {name}={shlex.quote(text)}" for name, text in variables.items())),
        Code("Windows", "sh", "\n".join(f'set "{name}={text}"' for name, text in variables.items())),
    ]


def edge_config(info: HubInfo, device_id: str = "", *, key: Secret | None = None) -> str:
    """The provisioning part of `/etc/aziot/config.toml`, in TOML alone (EDGE-5).

    Without a device id it is for any device below a group's CA, whose name stands as DEVICE.
    """
    files = files_of(device_id) if device_id else certificate_files("DEVICE")
    lines = [
        'trust_bundle_cert = "file:///etc/aziot/ca-bundle.pem"',
        "",
        "[provisioning]",
        'source = "dps"',
        f"global_endpoint = {json.dumps(f'https://{info.service_host}')}",
        f"id_scope = {json.dumps(info.id_scope)}",
        "# always_reprovision_on_startup = true",
        "# dynamic_reprovisioning = false",
        "",
        "[provisioning.attestation]",
    ]
    if key is not None:
        lines += [
            'method = "symmetric_key"',
            f"registration_id = {json.dumps(device_id)}",
            f"symmetric_key = {{ value = {json.dumps(key.reveal())} }}",
        ]
    else:
        lines += [
            'method = "x509"',
            "# Without a registration_id the certificate's common name is taken.",
            f'identity_cert = "file://{_FOLDER}/{files.fullchain}"',
            f'identity_pk = "file://{_FOLDER}/{files.key}"',
        ]
    return "\n".join(lines) + "\n"


def key_picture(info: HubInfo, device_id: str, key: Secret) -> str:
    """A QR code as SVG, whose text is JSON with the ID scope, the device id and the primary key. For a thread."""
    import segno

    text = json.dumps({"scopeId": info.id_scope, "deviceId": device_id, "primaryKey": key.reveal()})
    return segno.make_qr(text, error="m").svg_inline(omitsize=True, border=3, svgclass="qr", lineclass=None)
