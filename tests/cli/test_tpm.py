"""`moorage enrollment create --tpm`: keys as TPM tools write them, and what is none."""

from __future__ import annotations

import base64
from pathlib import Path

import click
import pytest

from moorage.cli.tpm_keys import tpm_keys
from moorage.errors import Invalid
from tests.hubs import running_hub
from tests.soft_tpms import SoftTpm


def test_an_enrolled_tpm_is_shown_and_changed(tmp_path: Path) -> None:
    tpm, other = SoftTpm(), SoftTpm("another")
    file = tmp_path / "ek.pub"
    file.write_bytes(tpm.endorsement_key)
    endorsement, storage, replaced = (
        base64.b64encode(key).decode() for key in (tpm.endorsement_key, tpm.storage_root_key, other.endorsement_key)
    )
    with running_hub(tmp_path / "hub") as hub:
        said = hub.moorage("enrollment", "create", "pump-01", "--tpm", str(file), "--storage-root-key", storage)
        assert said.startswith("Created enrollment pump-01.")
        (shown,) = hub.ask("enrollment", "show", "pump-01")
        wanted = {"type": "tpm", "tpm": {"endorsementKey": endorsement, "storageRootKey": storage}}
        assert shown["attestation"] == wanted
        hub.moorage("enrollment", "update", "pump-01", "--disable")
        assert hub.ask("enrollment", "show", "pump-01")[0]["attestation"] == wanted
        hub.moorage("enrollment", "update", "pump-01", "--tpm", replaced)
        (shown,) = hub.ask("enrollment", "show", "pump-01")
        assert shown["attestation"] == {"type": "tpm", "tpm": {"endorsementKey": replaced}}
        assert shown["provisioningStatus"] == "disabled"


def test_a_key_is_a_file_or_itself_in_base64(tmp_path: Path) -> None:
    key = SoftTpm(kind="ecc").endorsement_key
    text = base64.b64encode(key).decode()
    for name, content in (
        ("binary", key),
        ("text", text.encode()),
        ("lines", f"{text[:64]}\r\n{text[64:]}\n".encode()),
    ):
        (tmp_path / name).write_bytes(content)
        assert tpm_keys(str(tmp_path / name), None) == {"endorsementKey": text}
    assert tpm_keys(text, text) == {"endorsementKey": text, "storageRootKey": text}
    assert tpm_keys(None, None) == {}


def test_what_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"\x80" * 5000)
    (tmp_path / "other").write_bytes(b"AToAAQ==")
    for given, said in (
        (str(tmp_path / "missing"), "No such file"),
        (str(tmp_path), "Is a directory"),
        (str(tmp_path / "odd"), "no TPM2B_PUBLIC"),
        ("*" * 200, "no TPM2B_PUBLIC"),
    ):
        with pytest.raises(click.UsageError, match=said):
            tpm_keys(given, None)
    with pytest.raises(Invalid, match=r"tpm\.public_area"):
        tpm_keys(str(tmp_path / "other"), None)
    with pytest.raises(click.UsageError, match="goes with"):
        tpm_keys(None, "AToAAQ==")
