"""Keys of a TPM as an operator gives them: the file that TPM tools write, or its content in base64."""

from __future__ import annotations

import base64
from pathlib import Path

import click

__all__ = ["tpm_keys"]

# Longer than any path, and shorter than any key in base64.
_MAX_PATH = 120


def tpm_keys(endorsement: str | None, storage: str | None) -> dict[str, str]:
    """The wire's `tpm`, of --tpm and --storage-root-key; empty without the first.

    Raises `Invalid` (`tpm.public_area`) for what no TPM could register with.
    """
    if endorsement is None:
        if storage is not None:
            raise click.UsageError("--storage-root-key goes with --tpm")
        return {}
    keys = {"endorsementKey": _key(endorsement, "--tpm")}
    if storage is not None:
        keys["storageRootKey"] = _key(storage, "--storage-root-key")
    return keys


def _key(given: str, option: str) -> str:
    """A TPM2B_PUBLIC in base64."""
    from moorage.pki.tpm import MAX_PUBLIC_BYTES, parse_public

    data = given.encode()
    if len(given) <= _MAX_PATH:
        try:
            with Path(given).open("rb") as file:
                data = file.read(2 * MAX_PUBLIC_BYTES)
        except OSError as error:
            raise click.UsageError(f"{option}: {given} cannot be read: {error.strerror}") from None
    if len(data) != 2 + int.from_bytes(data[:2], "big"):
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except ValueError:
            raise click.UsageError(f"{option} is no TPM2B_PUBLIC, neither as it is nor in base64") from None
    parse_public(data, option)
    return base64.b64encode(data).decode("ascii")
