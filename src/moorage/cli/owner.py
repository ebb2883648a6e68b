"""The owner's bearer token, minted from `owner.key` in the data folder: whoever may read that file owns the hub."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from moorage.config import OWNER_KEY
from moorage.errors import Forbidden, NotFound
from moorage.identities.owner import OwnerKey
from moorage.ids import Secret

__all__ = ["owner_token"]


def owner_token(data: Path, now: datetime, lifetime: timedelta = timedelta(hours=1)) -> Secret:
    """A bearer for the hub's APIs.

    Raises `NotFound` (`hub.never_ran`), `Forbidden` (`owner_key.unreadable`), and as `OwnerKey.parse` and `mint`.
    """
    path = data / OWNER_KEY
    try:
        text = path.read_text("ascii", "replace")
    except FileNotFoundError:
        raise NotFound(
            "hub.never_ran",
            f"no hub has run on {data}: there is no {OWNER_KEY} in it",
            fix="moorage up, or say which data folder with --data DIR",
        ) from None
    except PermissionError as error:
        raise Forbidden(
            "owner_key.unreadable", f"only its owner may use this hub: {error}", fix="run as the user who runs the hub"
        ) from error
    return OwnerKey.parse(text).mint("api", lifetime, now)
