"""The data folder: whose it is, and the keys that are made once in it."""

from __future__ import annotations

import secrets
import shlex
from pathlib import Path

from moorage.adapters.files import private_folder, read_private, write_whole
from moorage.config import OWNER_KEY, SETTINGS_FILE
from moorage.errors import Conflict, Invalid, Unavailable
from moorage.hub_info import HUB_INFO
from moorage.identities.owner import OwnerKey

__all__ = ["REGISTRY", "claim_folder", "owner_key", "secrets_key"]

REGISTRY = "registry.db"
_SECRETS_KEY = "secrets.key"
# Any of them says that a folder is a hub's.
_OURS = (HUB_INFO, OWNER_KEY, SETTINGS_FILE, _SECRETS_KEY, REGISTRY)


def claim_folder(data: Path) -> None:
    """Make it private, unless it is somebody's folder and no hub's. Raises `Conflict` (`data.not_ours`)."""
    if data.is_dir() and data.stat().st_mode & 0o077 and not any((data / name).exists() for name in _OURS):
        stranger = next(data.iterdir(), None)
        if stranger is not None:
            raise Conflict(
                "data.not_ours",
                f"{data} is open to others and holds {stranger.name!r} and no hub; as a data folder it would be closed "
                "to everyone else (mode 0700)",
                fix=f"moorage up --data {shlex.quote(str(data / 'moorage'))}",
            )
    private_folder(data)


def secrets_key(data: Path) -> bytes:
    """The 32 bytes that encrypt what is secret in the registry; made once, before the registry is.

    Raises `Unavailable`: `secrets_key.missing`, `secrets_key.size`.
    """
    path, registry = data / _SECRETS_KEY, data / REGISTRY
    if not path.exists():
        if registry.exists():
            raise Unavailable(
                "secrets_key.missing",
                f"{path} is missing, and what is secret in {registry} was encrypted with it",
                fix=f"restore {path} from a backup of this folder, or begin a new hub: moorage up --data DIR",
            )
        write_whole(path, secrets.token_bytes(32))
    key = read_private(path)
    if len(key) != 32:
        raise Unavailable("secrets_key.size", f"{path} has {len(key)} bytes, not 32; restore it from a backup")
    return key


def owner_key(data: Path) -> OwnerKey:
    """The key that opens everything to whoever can read this folder; made once. Raises `Invalid`."""
    path = data / OWNER_KEY
    if not path.exists():
        write_whole(path, OwnerKey.generate().text().reveal().encode() + b"\n")
    try:
        return OwnerKey.parse(read_private(path).decode("ascii", "replace"))
    except Invalid as refusal:
        raise Invalid(
            refusal.reason,
            f"{path} holds no owner key: {refusal.message}",
            fix=f"restore it from a backup, or have a new one made: rm {shlex.quote(str(path))}, then moorage up",
        ) from refusal
