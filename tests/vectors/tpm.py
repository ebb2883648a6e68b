"""What a TPM answered once: `python -m tests.vectors.tpm` asks `swtpm` again and writes `tpm.json` beside this file.

The keys that things are wrapped for are known, so what is inside can be found without a TPM:

    credential: TPM2_MakeCredential, of a known secret, for RSA-2048 and P-256
    duplicate: TPM2_Duplicate, of a known HMAC key, with an inner AES-128 wrapper, to the same two
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from tests.soft_tpms import STORAGE_ATTRIBUTES, TpmPrivateKey, public_of, tpm_key
from tests.tpms import Tpm, running_tpm

__all__ = ["VECTORS", "private_key"]

_FILE: Final = Path(__file__).with_suffix(".json")
_OWNER, _NO_HANDLE, _PASSWORD = 0x40000001, 0x40000007, 0x40000009
_CREATE_PRIMARY, _DUPLICATE, _LOAD_EXTERNAL, _MAKE_CREDENTIAL = 0x131, 0x14B, 0x167, 0x168
_POLICY_COMMAND_CODE, _START_SESSION, _FLUSH = 0x16C, 0x176, 0x165


VECTORS: Final[list[dict[str, Any]]] = json.loads(_FILE.read_text()) if _FILE.exists() else []


def private_key(vector: dict[str, Any]) -> TpmPrivateKey:
    key = load_der_private_key(bytes.fromhex(vector["key"]), None)
    assert isinstance(key, TpmPrivateKey)
    return key


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _record(tpm: Tpm, kind: str) -> dict[str, Any]:
    key = tpm_key("recorded", kind)
    public = public_of(key, STORAGE_ATTRIBUTES)
    (loaded,), name = tpm.run(_LOAD_EXTERNAL, [], _sized(b"") + public + (_NO_HANDLE).to_bytes(4, "big"), returns=1)
    secret, inner, hmac_key = (hashlib.sha256(word).digest() for word in (b"secret", b"inner", b"HMAC"))
    _, credential = tpm.run(_MAKE_CREDENTIAL, [loaded], _sized(secret) + name)
    policy = hashlib.sha256(bytes(32) + (_POLICY_COMMAND_CODE).to_bytes(4, "big") + _DUPLICATE.to_bytes(4, "big"))
    area = bytes.fromhex("0008000b000400c0") + _sized(policy.digest()) + bytes.fromhex("0005000b0000")
    created = _sized(_sized(b"") + _sized(hmac_key)) + _sized(area) + _sized(b"") + bytes(4)
    (made,), answer = tpm.run(_CREATE_PRIMARY, [_OWNER], created, sessions=[_PASSWORD], returns=1)
    (session,), _ = tpm.run(
        _START_SESSION,
        [_NO_HANDLE, _NO_HANDLE],
        _sized(bytes(20)) + _sized(b"") + bytes.fromhex("010010000b"),
        returns=1,
    )
    tpm.run(_POLICY_COMMAND_CODE, [session], _DUPLICATE.to_bytes(4, "big"))
    _, duplicate = tpm.run(
        _DUPLICATE, [made, loaded], _sized(inner[:16]) + bytes.fromhex("000600800043"), sessions=[session]
    )
    for handle in (made, loaded):
        tpm.run(_FLUSH, [], handle.to_bytes(4, "big"))
    return {
        "kind": kind,
        "key": key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()).hex(),
        "public": public.hex(),
        "name": name[2:].hex(),
        "secret": secret.hex(),
        "credential": credential.hex(),
        "inner": inner[:16].hex(),
        "hmac_key": hmac_key.hex(),
        "hmac_public": answer[: 2 + int.from_bytes(answer[:2], "big")].hex(),
        "duplicate": duplicate.hex(),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, running_tpm(Path(folder)) as tpm:
        _FILE.write_text(json.dumps([_record(tpm, kind) for kind in ("rsa", "ecc")], indent=1) + "\n")
