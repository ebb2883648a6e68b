"""Users of the application."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import flag, list_of, members, named, nullable, text

__all__ = ["LINK", "LINK_DRAFT", "USER", "USERS", "USER_CHANGES", "USER_DRAFT"]

_ROLE: Final = text(
    "The short word of a built-in role (administrator, builder, operator, ...), or a role's id.", most=64
)
_ORGANIZATION: Final = text("The id of an organization; nothing for the root.", most=48)

USER: Final = named(
    "User",
    members(
        {
            "userId": text(most=48),
            "login": text("A name or an e-mail address.", most=256),
            "role": _ROLE,
            "roleName": text("The role's name.", most=100),
            "organization": _ORGANIZATION,
            "hasPassword": flag("Whether they have chosen one."),
            "disabled": flag("Whether they are shut out."),
            "created": text(),
            "signedIn": nullable(text("When they last came in.")),
        }
    ),
)
USERS: Final = members({"users": list_of(USER)})
USER_DRAFT: Final = named(
    "UserDraft",
    members(
        {"login": text("A name or an e-mail address.", most=256)},
        {"role": nullable(_ROLE), "organization": nullable(_ORGANIZATION)},
    ),
)
USER_CHANGES: Final = named(
    "UserChanges",
    members(
        {}, {"role": nullable(_ROLE), "organization": nullable(_ORGANIZATION), "disabled": nullable(flag("Shut out."))}
    ),
)
LINK_DRAFT: Final = members({}, {"login": nullable(text("Whose; a new administrator's when absent.", most=256))})
LINK: Final = named("SignInLink", members({"link": text("Works once."), "user": nullable(USER)}))
