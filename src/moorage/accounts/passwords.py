"""Passwords: argon2id (RFC 9106), and what one has to be.

Length is the only rule (NIST SP 800-63B 3.1.1.2), beside that it is not the login itself. The library's own parameters
are RFC 9106's second choice: 64 MiB, three passes, four lanes.
"""

from __future__ import annotations

import base64
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION

from moorage.accounts.model import Login
from moorage.errors import Invalid
from moorage.ids import Secret

__all__ = ["MAX_CHARACTERS", "MIN_CHARACTERS", "hash_password", "is_password", "parse_password"]

MIN_CHARACTERS: Final = 10
# More than anybody types, and little to hash.
MAX_CHARACTERS: Final = 256

_hasher = PasswordHasher()
# Checked where there is no user, so that an answer takes as long: a hash with the same parameters, of nothing.
_NOBODY: Final = "$argon2id$v={}$m={},t={},p={}${}${}".format(
    ARGON2_VERSION,
    _hasher.memory_cost,
    _hasher.time_cost,
    _hasher.parallelism,
    base64.b64encode(bytes(_hasher.salt_len)).decode().rstrip("="),
    base64.b64encode(bytes(_hasher.hash_len)).decode().rstrip("="),
)


def parse_password(text: str, login: Login) -> Secret:
    """A password that somebody chooses, in NFC.

    Raises `Invalid`: `account.password_length`, `account.password_is_name`.
    """
    password = unicodedata.normalize("NFC", text)
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise Invalid(
            "account.password_length",
            f"a password has from {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, this one has {len(password)}",
        )
    if password.casefold() in (login, login.partition("@")[0]):
        raise Invalid("account.password_is_name", "the password is the name itself")
    return Secret(password)


def hash_password(password: Secret) -> str:
    """Takes some 50 ms and 64 MiB: for a thread."""
    return _hasher.hash(password.reveal())


def is_password(text: str, encoded: str) -> bool:
    """Whether `text` made `encoded`; just as slow where `encoded` is '' and nothing can be right. For a thread."""
    try:
        _hasher.verify(encoded or _NOBODY, unicodedata.normalize("NFC", text[: 4 * MAX_CHARACTERS]))
    except (VerificationError, InvalidHashError):
        return False
    return bool(encoded)
