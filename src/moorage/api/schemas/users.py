"""Users of the application."""

from __future__ import annotations

from typing import Final

from moorage.accounts.model import ROLES
from moorage.api.schemas.words import flag, list_of, members, named, nullable, one_of, text

__all__ = ["LINK", "LINK_DRAFT", "USER", "USERS", "USER_CHANGES", "USER_DRAFT"]

_ROLE: Final = one_of(*ROLES)

USER: Final = named(
    "User",
    members(
        {
            "userId": text(most=48),
            "login": text("A name or an e-mail address.", most=256),
            "role": _ROLE,
            "hasPassword": flag("Whether they have chosen one."),
            "disabled": flag("Whether they are shut out."),
            "created": text(),
            "signedIn": nullable(text("When they last came in.")),
        }
    ),
)
USERS: Final = members({"users": list_of(USER)})
USER_DRAFT: Final = named(
    "UserDraft", members({"login": text("A name or an e-mail address.", most=256)}, {"role": nullable(_ROLE)})
)
USER_CHANGES: Final = named(
    "UserChanges", members({}, {"role": nullable(_ROLE), "disabled": nullable(flag("Shut out."))})
)
LINK_DRAFT: Final = members({}, {"login": nullable(text("Whose; a new administrator's when absent.", most=256))})
LINK: Final = named("SignInLink", members({"link": text("Works once."), "user": nullable(USER)}))
