"""Who may call the service APIs: the `Authorization` header of a request, judged.

Two credentials come in it. A SAS token signed with a policy's key opens what its audience names, with the rights of
that policy (services.md 1.1, 1.3). A bearer made by the owner of this hub opens everything (decisions T11), and no
other bearer opens anything. What a device shows where it speaks HTTPS is judged as a CONNECT is (`judge.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from moorage.errors import Forbidden, Unauthenticated
from moorage.identities.judge import HostNames
from moorage.identities.model import PolicyScope, Right
from moorage.identities.owner import OwnerKey
from moorage.identities.policies import PolicyCache
from moorage.identities.sas import (
    SCHEME,
    check_expiry,
    check_policy_audience,
    check_signature,
    parse_audience,
    parse_token,
)
from moorage.ids import DEFAULT_HUB, HubId

__all__ = ["Access", "Principal"]

# Registered schemes are letters and hyphens, the longest of them 15 (RFC 9110 11.1); keys are longer.
_SCHEME_WORD: Final = re.compile(r"[A-Za-z-]{1,20}")

# services.md 1.3: the right to write includes reading.
_INCLUDES: Final[dict[Right, Right]] = {
    "RegistryRead": "RegistryWrite",
    "EnrollmentRead": "EnrollmentWrite",
    "RegistrationStatusRead": "RegistrationStatusWrite",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: a policy by its name, or the owner. `expires` is None for a credential that does not."""

    kind: Literal["policy", "owner"]
    name: str
    expires: datetime | None

    def __str__(self) -> str:
        """For the audit log."""
        return self.kind if self.kind == "owner" else f"{self.kind}:{self.name}"


class Access:
    """Judges `Authorization` headers. `hosts` are the names that SAS audiences may give, in lower case."""

    __slots__ = ("_hosts", "_owner", "_policies")

    def __init__(self, policies: PolicyCache, owner: OwnerKey, hosts: HostNames) -> None:
        self._policies = policies
        self._owner = owner
        self._hosts = hosts

    def authorize(
        self,
        header: str | None,
        scope: PolicyScope,
        resource: str,
        any_of: frozenset[Right],
        now: datetime,
        *,
        hub: HubId = DEFAULT_HUB,
        is_amqp: bool = False,
    ) -> Principal:
        """Who is calling, if one of `any_of` (or the right to write what it reads) is theirs for `resource`.

        `resource` is a decoded path, such as `devices/pump-01`. With `any_of` empty only the owner may. Over AMQP a
        token may be signed with the text of a key, as clients of Event Hubs do.

        Raises:
            Unauthenticated: `authorization.missing`, `authorization.scheme`, `token.*`, `sas.disabled_for_policies`,
                `bearer.*`.
            Forbidden: `token.policy_rights`: a good token of a policy that lacks the right.
        """
        if header is None or not header.strip():
            raise Unauthenticated(
                "authorization.missing",
                "the request has no Authorization header",
                fix=f"send 'Authorization: {SCHEME} ...', or a bearer of 'moorage token'",
            )
        kind, _, rest = header.strip().partition(" ")
        if kind.lower() == "bearer":
            return Principal("owner", "owner", self._owner.check(rest.strip(), "api", now))
        if kind.lower() != SCHEME.lower():
            # A key that was pasted without a scheme stands where the scheme belongs: only a word is repeated.
            shown = repr(kind) if rest and _SCHEME_WORD.fullmatch(kind) else "not named, or no word"
            raise Unauthenticated(
                "authorization.scheme",
                f"the scheme of the Authorization header is {shown}; {SCHEME} and Bearer are accepted",
            )
        return self._by_policy(hub, header, scope, resource, any_of, now, is_amqp=is_amqp)

    def look_at(self, text: str, now: datetime, *, hub: HubId = DEFAULT_HUB) -> None:
        """Whether anybody can use this token: its form, its end, and the policy that it names and its signature.

        What the own token of an identity or a registration opens is judged where it is used: here it would tell a
        stranger which exist.

        Raises:
            Unauthenticated: `token.*`.
        """
        token = parse_token(text)
        check_expiry(token, now)
        if token.policy is None or parse_audience(token.resource).path[:1] == ("registrations",):
            return
        found = (self._policies.find(hub, scope, token.policy) for scope in ("hub", "dps"))
        policies = [policy for policy in found if policy is not None]
        if not policies:
            raise Unauthenticated(
                "token.policy_unknown",
                f"the token's skn names the policy {token.policy[:64]!r}, which neither the hub nor the provisioning "
                "service has",
                fix="moorage env",
            )
        keys = [key for policy in policies for key in (*policy.keys, *policy.texts)]
        check_signature(token, keys, f"policy {token.policy[:64]!r}")

    def _by_policy(
        self,
        hub: HubId,
        header: str,
        scope: PolicyScope,
        resource: str,
        any_of: frozenset[Right],
        now: datetime,
        *,
        is_amqp: bool,
    ) -> Principal:
        token = parse_token(header)
        if token.policy is None:
            # a device's own token is never valid for service operations.
            raise Unauthenticated(
                "token.policy_missing",
                "the token has no skn, so it is a device's own; service operations take one of a shared access policy",
                fix="moorage env",
            )
        if scope == "hub" and self._policies.switches(hub).disable_local_auth:
            raise Unauthenticated(
                "sas.disabled_for_policies",
                f"tokens signed with policy keys are switched off on hub '{hub}' (disableLocalAuth)",
                fix="moorage token",
            )
        policy = self._policies.find(hub, scope, token.policy)
        if policy is None:
            raise Unauthenticated(
                "token.policy_unknown",
                f"the token's skn names the policy {token.policy[:64]!r}, which the "
                f"{'hub' if scope == 'hub' else 'provisioning service'} does not have",
                fix="moorage env",
            )
        keys = (*policy.keys, *policy.texts) if is_amqp else policy.keys
        check_signature(token, keys, f"policy '{policy.name}'")
        check_expiry(token, now)
        check_policy_audience(token, self._hosts(), tuple(part for part in resource.split("/") if part))
        if not any(right in policy.rights or _INCLUDES.get(right) in policy.rights for right in any_of):
            raise Forbidden(
                "token.policy_rights",
                f"this takes {' or '.join(sorted(any_of)) or 'the owner of the hub'}; policy '{policy.name}' has "
                f"{', '.join(sorted(policy.rights))}",
                fix="moorage env" if any_of else "moorage token",
            )
        return Principal("policy", policy.name, token.expires)
