"""Keys at rest: a pair of shared access keys, encrypted and bound to the row it was written for.

AES-256-GCM with a random nonce. The associated data names the table and the key of the row, so a sealed value that is
copied to another row, or altered, does not open.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from moorage.errors import Invalid, Unavailable
from moorage.ids import Secret

__all__ = ["Sealer"]

_KEY_BYTES = 32
_NONCE_BYTES = 12
# Of the first key's length, before it.
_LENGTH_BYTES = 4


class Sealer:
    """Seals and opens with one secrets key. Raises `Invalid` (`store.secrets_key_length`) unless it has 32 bytes."""

    def __init__(self, secrets_key: bytes) -> None:
        if len(secrets_key) != _KEY_BYTES:
            raise Invalid(
                "store.secrets_key_length", f"the secrets key has {len(secrets_key)} bytes; it takes {_KEY_BYTES}"
            )
        self._cipher = AESGCM(secrets_key)

    def seal(self, primary: Secret, secondary: Secret, *place: str) -> bytes:
        """`place` is the table and the row's key."""
        nonce = os.urandom(_NONCE_BYTES)
        first = primary.reveal().encode()
        pair = len(first).to_bytes(_LENGTH_BYTES, "big") + first + secondary.reveal().encode()
        return nonce + self._cipher.encrypt(nonce, pair, "\0".join(place).encode())

    def open(self, sealed: bytes, *place: str) -> tuple[Secret, Secret]:
        """Raises `Unavailable` (`store.sealed`) when it was sealed by another key or for another place."""
        try:
            pair = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], "\0".join(place).encode())
        except (InvalidTag, ValueError) as error:
            raise Unavailable(
                "store.sealed",
                f"the keys stored in {' / '.join(part for part in place if part)} do not open with this installation's "
                "secrets key: they were altered, moved from another row, or sealed by another key",
                fix="restore the database together with its secrets key",
            ) from error
        end = _LENGTH_BYTES + int.from_bytes(pair[:_LENGTH_BYTES], "big")
        return Secret(pair[_LENGTH_BYTES:end], "utf-8"), Secret(pair[end:], "utf-8")
