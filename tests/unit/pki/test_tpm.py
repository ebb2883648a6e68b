"""Wrapping keys for TPMs: held against what a TPM made, opened in Python, and taken in by `swtpm` where it is there."""

from __future__ import annotations

import hmac
import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid
from moorage.pki.tpm import KEY_BYTES, MAX_PUBLIC_BYTES, kdfa, kdfe, make_credential, parse_public, wrap_key
from tests.soft_tpms import (
    ENDORSEMENT_ATTRIBUTES,
    STORAGE_ATTRIBUTES,
    SoftTpm,
    open_credential,
    open_duplicate,
    public_of,
    tpm_key,
)
from tests.tpms import ECC_STORAGE, RSA_STORAGE, TpmDevice, TpmError, running_tpm
from tests.vectors.tpm import VECTORS, private_key

KINDS = ["rsa", "ecc"]


def pieces_of(data: bytes) -> list[bytes]:
    pieces = []
    while data:
        size = int.from_bytes(data[:2], "big")
        pieces.append(data[2 : 2 + size])
        data = data[2 + size :]
    return pieces


@pytest.mark.parametrize("vector", VECTORS, ids=KINDS)
def test_what_a_tpm_wrapped_is_understood(vector: dict[str, Any]) -> None:
    key = private_key(vector)
    public = parse_public(bytes.fromhex(vector["public"]), "the key")
    assert public.name.hex() == vector["name"]
    credential, seed = pieces_of(bytes.fromhex(vector["credential"]))
    assert open_credential(key, public, public.name, credential, seed).hex() == vector["secret"]
    none, private, seed = pieces_of(bytes.fromhex(vector["duplicate"]))
    assert none == b""
    area = bytes.fromhex(vector["hmac_public"])[2:]
    inner = bytes.fromhex(vector["inner"])
    assert open_duplicate(key, public, inner, area, private, seed).hex() == vector["hmac_key"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_wrapped_is_opened_by_the_tpm_it_is_for(kind: str) -> None:
    tpm = SoftTpm("own", kind)
    key = secrets.token_bytes(KEY_BYTES)
    tpm.activate(wrapped(tpm, key))
    assert tpm.key == key


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", [{"label": "other"}, {"label": "own", "owner": "new"}], ids=["tpm", "owner"])
def test_no_other_tpm_and_no_other_owner_opens_it(kind: str, other: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        SoftTpm(kind=kind, **other).activate(wrapped(SoftTpm("own", kind), bytes(KEY_BYTES)))


def test_nothing_is_wrapped_the_same_way_twice() -> None:
    tpm = SoftTpm("own")
    first, second = (wrapped(tpm, bytes(KEY_BYTES)) for _ in range(2))
    for one, other in zip(pieces_of(first)[:5], pieces_of(second)[:5], strict=True):
        assert one != other


def test_a_credential_is_bound_to_the_name_of_the_storage_key() -> None:
    key = tpm_key("own endorsement", "rsa")
    public = parse_public(public_of(key, ENDORSEMENT_ATTRIBUTES), "EK")
    credential, seed = make_credential(public, b"\x00\x0b" + bytes(32), b"secret")
    assert open_credential(key, public, b"\x00\x0b" + bytes(32), credential, seed) == b"secret"
    with pytest.raises(ValueError):
        open_credential(key, public, b"\x00\x0b" + bytes([1] * 32), credential, seed)


def test_derived_keys_have_the_length_that_was_asked_for() -> None:
    assert len(kdfa("sha256", b"k", "L", b"", b"", 128)) == 16
    long = kdfa("sha256", b"k", "L", b"u", b"v", 512)
    assert len(long) == 64
    # Another length is another key, since it is part of what is hashed; with KDFe it is not.
    assert long[:32] != kdfa("sha256", b"k", "L", b"u", b"v", 256)
    assert kdfe("sha256", b"z", "L", b"u", b"v", 512)[:32] == kdfe("sha256", b"z", "L", b"u", b"v", 256)


def _changed(**changes: tuple[int, bytes]) -> dict[str, bytes]:
    """The RSA key's area with other bytes at some places, by what is wrong then."""
    area = public_of(tpm_key("own storage ", "rsa"), STORAGE_ATTRIBUTES)
    return {why: area[:at] + other + area[at + len(other) :] for why, (at, other) in changes.items()}


WRONG = _changed(
    type=(2, b"\x00\x08"),
    name_algorithm=(4, b"\x00\x04"),
    fixedTPM=(6, b"\x00\x03\x04\x70"),
    fixedParent=(6, b"\x00\x03\x04\x62"),
    restricted=(6, b"\x00\x02\x04\x72"),
    decrypt=(6, b"\x00\x01\x04\x72"),
    sign=(6, b"\x00\x07\x04\x72"),
    cipher=(12, b"\x00\x0a"),
    cipher_bits=(14, b"\x00\x40"),
    cipher_mode=(16, b"\x00\x40"),
    scheme=(18, b"\x00\x14"),
    modulus_bits=(20, b"\x04\x00"),
    exponent=(22, b"\x00\x00\x00\x03"),
    small_modulus=(28, b"\x00" * 8),
    even_modulus=(28 + 255, b"\x00"),
)


@pytest.mark.parametrize("why", WRONG)
def test_keys_that_do_not_protect_are_not_taken(why: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_public(WRONG[why], "the storage root key")
    assert refused.value.reason == "tpm.public_area"
    assert refused.value.message.startswith("the storage root key is not taken: ")


def test_no_end_of_a_public_area_may_be_missing_or_follow() -> None:
    for kind in KINDS:
        whole = public_of(tpm_key("own storage ", kind), STORAGE_ATTRIBUTES)
        parse_public(whole, "it")
        for size in range(len(whole)):
            with pytest.raises(Invalid):
                parse_public(whole[:size], "it")
            if size > 2:
                with pytest.raises(Invalid):
                    parse_public((size - 2).to_bytes(2, "big") + whole[2:size], "it")
        for more in (
            whole + b"\0",
            (len(whole) - 1).to_bytes(2, "big") + whole[2:] + b"\0",
            bytes(MAX_PUBLIC_BYTES + 1),
        ):
            with pytest.raises(Invalid):
                parse_public(more, "it")


def test_a_point_that_is_not_on_its_curve_is_not_taken() -> None:
    whole = public_of(tpm_key("own storage ", "ecc"), STORAGE_ATTRIBUTES)
    with pytest.raises(Invalid):
        parse_public(whole[:-1] + bytes([whole[-1] ^ 1]), "it")
    # The point at infinity, as it is sometimes written.
    with pytest.raises(Invalid):
        parse_public(whole[:-68] + b"\x00\x20" + bytes(32) + b"\x00\x20" + bytes(32), "it")


@given(st.binary(max_size=400), st.integers(0, 315), st.booleans())
def test_any_bytes_are_a_key_or_are_refused(data: bytes, at: int, grafts: bool) -> None:
    if grafts:
        whole = public_of(tpm_key("own storage ", "rsa"), STORAGE_ATTRIBUTES)
        data = whole[:at] + data[:4] + whole[at + 4 :]
    try:
        public = parse_public(data, "it")
    except Invalid as refusal:
        assert refusal.reason == "tpm.public_area"
    else:
        wrap_key(public, public, bytes(KEY_BYTES))


@pytest.mark.parametrize("template", [RSA_STORAGE, ECC_STORAGE], ids=KINDS)
def test_a_tpm_takes_the_key_in_and_signs_with_it(tmp_path: Path, template: tuple[int, bytes]) -> None:
    with running_tpm(tmp_path) as tpm:
        device = TpmDevice(tpm, template)
        endorsement = parse_public(device.endorsement_key, "EK")
        storage = parse_public(device.storage_root_key, "SRK")
        for _ in range(2):
            key = secrets.token_bytes(KEY_BYTES)
            device.activate(wrap_key(endorsement, storage, key))
            assert device.sign(b"text") == hmac.digest(key, b"text", "sha256")
        other = SoftTpm("other")
        with pytest.raises(TpmError):
            device.activate(wrap_key(endorsement, parse_public(other.storage_root_key, "SRK"), key))
        with pytest.raises(TpmError):
            device.activate(wrap_key(parse_public(other.endorsement_key, "EK"), storage, key))
        assert device.sign(b"text") == hmac.digest(key, b"text", "sha256")


def wrapped(tpm: SoftTpm, key: bytes) -> bytes:
    return wrap_key(parse_public(tpm.endorsement_key, "EK"), parse_public(tpm.storage_root_key, "SRK"), key)
