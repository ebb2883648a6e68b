"""Who is it, and is it really? The judgement of a connection's credentials against the registry.

`Authenticator.authenticate` runs on the event loop at every CONNECT: one point read (two for a module), then one path:

    the identity is registered as          and is judged by
    selfSigned, certificateAuthority       the certificate of the TLS handshake, whose key the peer has shown to hold
    sas                                    a token signed with its own key
    none                                   nothing: it stays out

The registered type selects the credential; the other one is never a fallback (decisions T4). Beside these stands the
hub's own credential: a token signed with the key of a policy that has DeviceConnect opens any device. It is looked at
where the peer shows no credential of the identity's own kind.

Every refusal is an `Unauthenticated`, so that to a stranger "unknown" and "not allowed" look alike (decisions T7); what
differs is `reason`, and that is written down, not sent. A refusal carries every check of its path in order; a peer that
is let in has passed them all, so nothing of that is built for it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from moorage.errors import Invalid, Unauthenticated
from moorage.identities import explanations
from moorage.identities.credentials import AuthenticatedIdentity, AuthMethod, Presented
from moorage.identities.model import (
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    IdentityTable,
    RegistryTables,
)
from moorage.identities.policies import PolicyCache
from moorage.identities.sas import (
    SasToken,
    check_expiry,
    check_identity_audience,
    check_policy_audience,
    check_signature,
    identity_path,
    key_bytes,
    parse_token,
    session_end,
)
from moorage.identities.trust import TrustCache, binding_of
from moorage.ids import HubId, IdentityName, Thumbprint
from moorage.pki.certificates import Certificate, PeerChain, VerifiedChain
from moorage.pki.policy import PASSED_PINNED, check_pinned
from moorage.pki.waivers import Waivers
from moorage.store import Store

__all__ = ["Authenticator", "HostNames"]

# Every name that the hub is known by, in lower case and without ports; asked for again at each use (decisions S13).
HostNames = Callable[[], Collection[str]]

# A certificate is valid through the whole second of its notAfter (RFC 5280 4.1.2.5): the session ends with that second,
# so that a device which connects again at once is not let in to be cut off again.
_LAST_SECOND: Final = timedelta(seconds=1)
# The last moment there is: how certificates without end are written, as the makers of chips issue them.
_NEVER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

# services.md 4.5: what `iothub-connection-auth-method` says, for a device and for a module. Shared by all connections.
_BY_KEY: Final = (AuthMethod("device", "sas", "iothub"), AuthMethod("module", "sas", "iothub"))
_BY_CERTIFICATE: Final = (
    AuthMethod("device", "x509Certificate", "external"),
    AuthMethod("module", "x509Certificate", "external"),
)
_BY_POLICY: Final = AuthMethod("hub", "sas", "iothub")

# What every peer of a kind has passed that was let in; shared by all connections.
_PASSED_BY_KEY: Final = explanations.passed(explanations.BY_OWN_KEY)
_PASSED_BY_POLICY: Final = explanations.passed(explanations.BY_POLICY)
_PASSED_BY_AUTHORITY: Final = explanations.passed(explanations.BY_AUTHORITY)
_PASSED_BY_THUMBPRINT: Final = (*explanations.passed(explanations.BY_THUMBPRINT), *PASSED_PINNED)


class Authenticator:
    """Judges what peers show, for every hub of one store."""

    __slots__ = ("_hosts", "_policies", "_store", "_trust")

    def __init__(
        self, store: Store[RegistryTables], policies: PolicyCache, trust: TrustCache, hosts: HostNames
    ) -> None:
        self._store = store
        self._policies = policies
        self._trust = trust
        self._hosts = hosts

    def authenticate(
        self, hub: HubId, name: IdentityName, presented: Presented, now: datetime
    ) -> AuthenticatedIdentity:
        """The identity `name`, once `presented` has proven to be it.

        Raises:
            Unauthenticated: with what failed as its reason: `identity.*`, `chain.*`, `token.*` or `sas.*`.
        """
        table = self._store.read().identities
        identity = table.find(hub, name)
        try:
            if identity is None:
                raise explanations.unknown(hub, name, presented, _existing(table, hub))
            _check_enabled(table, identity)
            authentication = identity.authentication
            if isinstance(authentication, BySharedKey):
                return self._by_key(identity, authentication, presented, now)
            if isinstance(authentication, ByAuthority):
                if presented.chain:
                    return self._by_authority(table, identity, authentication, presented.chain, now)
                return self._without_certificate(identity, presented, now)
            if isinstance(authentication, ByThumbprint):
                if presented.chain:
                    waivers = self._trust.waivers(hub)
                    return _by_thumbprint(identity, authentication, presented.chain, now, waivers)
                return self._without_certificate(identity, presented, now)
            raise Unauthenticated(
                "identity.no_credential",
                f"'{name}' is registered with authentication type none, so nothing lets it in",
                fix=explanations.update_command(name, "--auth x509-ca"),
            )
        except Unauthenticated as refusal:
            if not refusal.checks:
                refusal.checks = explanations.checks_until(refusal, explanations.BEFORE_CREDENTIALS)
            raise

    def _by_authority(
        self, table: IdentityTable, identity: Identity, authentication: ByAuthority, chain: PeerChain, now: datetime
    ) -> AuthenticatedIdentity:
        binding = binding_of(authentication)
        validator = self._trust.validator(identity.hub, binding)
        try:
            verified = validator.validate(chain, now)
            _check_common_name(table, identity, verified.leaf)
        except Unauthenticated as refusal:
            raise explanations.under_authority(
                refusal, identity, chain, len(validator.anchors), self._trust.unproven(identity.hub, binding)
            ) from None
        return _authenticated(identity, verified, binding)

    def _by_key(
        self, identity: Identity, authentication: BySharedKey, presented: Presented, now: datetime
    ) -> AuthenticatedIdentity:
        name = identity.name
        try:
            if not presented.token:
                raise explanations.token_missing(identity, presented)
            token = parse_token(presented.token.reveal())
            if token.policy is None:
                self._check_switches(identity)
                keys = (key_bytes(authentication.primary), key_bytes(authentication.secondary))
                check_signature(token, keys, f"'{name}'")
                check_expiry(token, now)
                check_identity_audience(token, self._hosts(), name)
                return AuthenticatedIdentity(
                    identity,
                    _BY_KEY[name.module_id is not None],
                    session_end(token, now),
                    checks=_PASSED_BY_KEY,
                )
        except Unauthenticated as refusal:
            refusal.checks = explanations.checks_until(refusal, explanations.BY_OWN_KEY)
            raise
        return self._by_policy(identity, token, token.policy, now)

    def _without_certificate(self, identity: Identity, presented: Presented, now: datetime) -> AuthenticatedIdentity:
        """An X.509 identity that showed no certificate: the hub's own credential, or nothing."""
        token = None
        if presented.token:
            try:
                token = parse_token(presented.token.reveal())
            except Unauthenticated:
                # What is wrong with it is beside the point: it is a certificate that this identity has to show.
                token = None
        if token is not None and token.policy is not None:
            return self._by_policy(identity, token, token.policy, now)
        refusal = explanations.certificate_missing(identity, presented)
        pinned = isinstance(identity.authentication, ByThumbprint)
        order = explanations.BY_THUMBPRINT if pinned else explanations.BY_AUTHORITY
        refusal.checks = explanations.checks_until(refusal, order)
        raise refusal

    def _by_policy(self, identity: Identity, token: SasToken, policy_name: str, now: datetime) -> AuthenticatedIdentity:
        hub, name = identity.hub, identity.name
        try:
            self._check_switches(identity)
            if self._policies.switches(hub).disable_local_auth:
                raise Unauthenticated(
                    "sas.disabled_for_policies",
                    f"tokens signed with policy keys are switched off on hub '{hub}' (disableLocalAuth)",
                    fix=explanations.update_command(name, "--auth x509-ca"),
                )
            policy = self._policies.find(hub, "hub", policy_name)
            if policy is None:
                raise Unauthenticated(
                    "token.policy_unknown",
                    f"the token's skn names the policy {policy_name[:64]!r}, which hub '{hub}' does not have; a token "
                    "signed with the device's own key has no skn",
                )
            signed_by = check_signature(token, policy.keys, f"policy '{policy.name}'")
            check_expiry(token, now)
            check_policy_audience(token, self._hosts(), identity_path(name))
            if "DeviceConnect" not in policy.rights:
                raise Unauthenticated(
                    "token.policy_rights",
                    f"to connect as '{name}' takes DeviceConnect; policy '{policy.name}' has "
                    f"{', '.join(sorted(policy.rights))}",
                )
        except Unauthenticated as refusal:
            refusal.checks = explanations.checks_until(refusal, explanations.BY_POLICY)
            raise
        return AuthenticatedIdentity(
            identity,
            _BY_POLICY,
            session_end(token, now),
            policy=policy.name,
            policy_key=policy.marks[signed_by],
            checks=_PASSED_BY_POLICY,
        )

    def _check_switches(self, identity: Identity) -> None:
        """services.md 5.4."""
        hub, name = identity.hub, identity.name
        switches = self._policies.switches(hub)
        if name.module_id is None and switches.disable_device_sas:
            raise Unauthenticated(
                "sas.disabled_for_devices",
                f"'{name}' came with a token; tokens of devices are switched off on hub '{hub}' (disableDeviceSAS)",
                fix=explanations.update_command(name, "--auth x509-ca"),
            )
        if name.module_id is not None and switches.disable_module_sas:
            raise Unauthenticated(
                "sas.disabled_for_modules",
                f"'{name}' came with a token; tokens of modules are switched off on hub '{hub}' (disableModuleSAS)",
                fix=explanations.update_command(name, "--auth x509-ca"),
            )


def _by_thumbprint(
    identity: Identity, authentication: ByThumbprint, chain: PeerChain, now: datetime, waivers: Waivers
) -> AuthenticatedIdentity:
    """T3: matched by its hash, whatever its name; dates and key strength are looked at after."""
    for registered in (authentication.primary, authentication.secondary):
        if registered is None:
            continue
        if registered == (chain.leaf_sha256() if len(registered) == 64 else chain.leaf_sha1()):
            matched = registered
            break
    else:
        refusal = explanations.wrong_thumbprint(identity, authentication, chain)
        refusal.checks = explanations.checks_until(refusal, explanations.BY_THUMBPRINT)
        raise refusal
    try:
        verified = check_pinned(chain, now, waivers)
    except Unauthenticated as refusal:
        refusal.checks = (*explanations.checks_until(refusal, explanations.BY_THUMBPRINT), *refusal.checks)
        raise
    return _authenticated(identity, verified, None, matched)


def _authenticated(
    identity: Identity, verified: VerifiedChain, binding: str | None, pinned: Thumbprint | None = None
) -> AuthenticatedIdentity:
    leaf, signers = verified.leaf, verified.signers
    passed = _PASSED_BY_THUMBPRINT if binding is None else _PASSED_BY_AUTHORITY
    # What passed and has to be told of; made for those alone that it concerns.
    told = (
        *(check for check in verified.revocation if not check.passed),
        *(each.check for each in verified.waived),
    )
    return AuthenticatedIdentity(
        identity,
        _BY_CERTIFICATE[identity.name.module_id is not None],
        min(verified.expires, _NEVER - _LAST_SECOND) + _LAST_SECOND,
        leaf.sha256,
        leaf.serial_number if signers else None,
        tuple(signer.sha256 for signer in signers),
        signers,
        binding,
        pinned=pinned,
        waivers=frozenset(each.waiver for each in verified.waived),
        checks=(*passed, *told) if told else passed,
    )


def _check_enabled(table: IdentityTable, identity: Identity) -> None:
    """A module needs its device enabled too."""
    name = identity.name
    stopped: Identity | None = identity
    subject = f"'{name}'"
    if identity.status == "enabled":
        if name.module_id is None:
            return
        stopped = table.find(identity.hub, IdentityName(name.device_id))
        if stopped is not None and stopped.status == "enabled":
            return
        subject = f"device '{name.device_id}' of module '{name.module_id}'"
    why = f": {stopped.status_reason!r}" if stopped is not None and stopped.status_reason else ""
    raise Unauthenticated(
        "identity.disabled",
        f"{subject} is disabled{why}",
        fix=f"moorage device enable {shlex.quote(name.device_id)}",
    )


def _check_common_name(table: IdentityTable, identity: Identity, leaf: Certificate) -> None:
    """T3: exactly one common name, equal to the identity's name byte for byte."""
    try:
        common_name = leaf.common_name()
    except Invalid as problem:
        raise Unauthenticated(
            "identity.common_name", problem.message, fix=explanations.certify_command(identity.name, leaf)
        ) from None
    if common_name != str(identity.name):
        raise explanations.mismatch(identity.name, leaf, common_name, _existing(table, identity.hub))


def _existing(table: IdentityTable, hub: HubId) -> explanations.Exists:
    return lambda name: table.find(hub, name) is not None
