"""Registered CA certificates: uploaded, proven, replaced in a roll, removed (services.md 5; decisions T1, T5, T6).

A registered CA anchors nothing until possession of its key is shown (a verification certificate for a code we chose),
or whoever uploads it vouches for it. Hub and provisioning service keep separate collections under the same names.

Each change bumps the etag, and a code lives only as long as the state it was made for: an upload in between takes it
away, so a code is bound to its slot and etag. Each change of a collection emits an event that makes trust be read
anew: `anchors.removed`, with the thumbprints that are gone, when a CA was deleted, and `anchors.replaced` for
everything else, which cuts nobody (T5). The subject is the collection, `hub` or `dps`. Each is written to the audit
log, with whoever did it.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from moorage.certificates.model import CATables, Proof, RegisteredCA, Registry
from moorage.errors import Conflict, NotFound, TooLarge
from moorage.events import Event
from moorage.ids import CAName, ETag, HubId, check_etag, version_etag
from moorage.pki.certificates import Certificate
from moorage.pki.inputs import parse_certificate
from moorage.pki.policy import check_ca
from moorage.pki.possession import CODE_LIFETIME, check_possession, make_code
from moorage.pki.waivers import Waivers
from moorage.store import Store

__all__ = ["MAX_CAS", "CertificateService", "HubAnchors"]

# devices.md 8: the provisioning service takes 25. What the hub takes is not documented; this bounds one validator.
MAX_CAS: Final[dict[Registry, int]] = {"hub": 100, "dps": 25}

audit = logging.getLogger("moorage.audit")


class CertificateService:
    """The CA collections of every hub in one store. `by` says who asks, for the audit log."""

    def __init__(self, store: Store[CATables]) -> None:
        self._store = store

    def get(self, hub: HubId, registry: Registry, name: CAName) -> RegisteredCA:
        """Raises `NotFound` (`ca.unknown`)."""
        return _find(self._store.read(), hub, registry, name)

    def all(self, hub: HubId, registry: Registry) -> list[RegisteredCA]:
        return self._store.read().cas.all(hub, registry)

    async def upload(
        self,
        hub: HubId,
        registry: Registry,
        name: CAName,
        content: bytes | str,
        now: datetime,
        *,
        by: str,
        vouched: bool = False,
    ) -> RegisteredCA:
        """Register a CA: the first certificate in `content`, in any spelling of K-1. `vouched` is K-2's `isVerified`.

        Raises:
            Conflict: `ca.exists`: replacing one takes its etag.
            TooLarge: `ca.too_many`.
            Invalid: `certificate.*` when it cannot be read or holds a private key, `ca.*` when it is no usable CA.
        """
        certificate = _usable(content, now, self._store.read().waivers.given(hub))

        def work(tables: CATables) -> RegisteredCA:
            if tables.cas.find(hub, registry, name) is not None:
                raise Conflict("ca.exists", f"a CA named '{name}' is registered already; to replace it, give its etag")
            count = len(tables.cas.all(hub, registry))
            if count >= MAX_CAS[registry]:
                raise TooLarge("ca.too_many", f"{count} CAs are registered, {MAX_CAS[registry]} is the limit")
            # A random first version: an etag from before a delete must not fit what is uploaded after it.
            version = secrets.randbelow(2**31 - 1) + 1
            proof: Proof = "vouched" if vouched else "none"
            return _put(tables, RegisteredCA(hub, registry, name, certificate, proof, version, now, now))

        ca = await self._store.write(work)
        _log("ca.uploaded", ca, by)
        return ca

    async def replace(
        self,
        hub: HubId,
        registry: Registry,
        name: CAName,
        content: bytes | str,
        now: datetime,
        *,
        by: str,
        if_match: ETag | None,
        vouched: bool = False,
        also: Callable[[CATables], object] | None = None,
    ) -> RegisteredCA:
        """Put another certificate in the place of a registered one, or vouch for the one that is there; `also` in the
        same transaction.

        Another certificate has to be proven again. What relied on the one before is not cut, but judged by the new
        state when it comes back.

        Raises:
            NotFound: `ca.unknown`. PreconditionFailed: `etag.stale`.
            Invalid: as `upload`.
        """
        certificate = _usable(content, now, self._store.read().waivers.given(hub))

        def work(tables: CATables) -> RegisteredCA:
            present = _current(tables, hub, registry, name, if_match)
            proof = present.proof if certificate == present.certificate else "none"
            if vouched and proof == "none":
                proof = "vouched"
            if also is not None:
                also(tables)
            return _put(tables, _changed(present, now, certificate=certificate, proof=proof))

        ca = await self._store.write(work)
        _log("ca.replaced", ca, by)
        return ca

    async def generate_code(
        self, hub: HubId, registry: Registry, name: CAName, now: datetime, *, by: str, if_match: ETag | None
    ) -> RegisteredCA:
        """A new verification code, in `code`; the one before is void (K-4).

        Raises:
            NotFound: `ca.unknown`. PreconditionFailed: `etag.stale`.
        """
        code, expires = make_code(), now + CODE_LIFETIME

        def work(tables: CATables) -> RegisteredCA:
            present = _current(tables, hub, registry, name, if_match)
            ca = replace(_changed(present, now), code=code, code_expires=expires)
            tables.cas.put(ca)
            return ca

        ca = await self._store.write(work)
        _log("ca.code_generated", ca, by)
        return ca

    async def verify(
        self,
        hub: HubId,
        registry: Registry,
        name: CAName,
        proof: bytes | str,
        now: datetime,
        *,
        by: str,
        if_match: ETag | None,
    ) -> RegisteredCA:
        """Take a verification certificate as proof of possession (K-3); its code is used up.

        Raises:
            NotFound: `ca.unknown`. PreconditionFailed: `etag.stale`.
            Invalid: `certificate.*` when it cannot be read, `proof.*` when it proves nothing.
        """
        note = parse_certificate(proof)

        def work(tables: CATables) -> RegisteredCA:
            present = _current(tables, hub, registry, name, if_match)
            check_possession(
                present.certificate,
                note,
                code=present.code,
                code_expires=present.code_expires,
                now=now,
                waivers=tables.waivers.given(hub),
            )
            return _put(tables, _changed(present, now, proof="possession"))

        ca = await self._store.write(work)
        _log("ca.proven", ca, by)
        return ca

    async def delete(
        self, hub: HubId, registry: Registry, name: CAName, *, by: str, if_match: ETag | None
    ) -> RegisteredCA:
        """Distrust a CA: what hangs on it is cut, unless the same certificate is trusted under another name as well.

        With the last one of the hub that was trusted all is cut that hangs on any, also on what was replaced before.

        Raises:
            NotFound: `ca.unknown`. PreconditionFailed: `etag.stale`.
        """

        def work(tables: CATables) -> RegisteredCA:
            present = _current(tables, hub, registry, name, if_match)
            tables.cas.delete(hub, registry, name)
            left = tables.cas.all(hub, registry)
            trusted = [other.certificate for other in left if other.is_verified]
            is_gone = present.is_verified and present.certificate not in trusted
            # One that waits for its proof may have taken the place of another in a roll, which goes on beside this one.
            # Groups may trust certificates of their own, whatever is registered for provisioning.
            is_all = registry == "hub" and not (trusted if present.is_verified else left)
            if is_gone or is_all:
                thumbprints = [present.certificate.sha256] if is_gone else []
                gone = {"name": present.name, "thumbprints": thumbprints, "all": is_all}
                tables.outbox.emit(Event("anchors.removed", hub, registry, gone))
            else:
                tables.outbox.emit(Event("anchors.replaced", hub, registry, {"name": present.name}))
            return present

        ca = await self._store.write(work)
        _log("ca.deleted", ca, by)
        return ca


class HubAnchors:
    """What the trust binding `hub` stands for: the proven CAs of the hub's collection.

    An unproven one may stand inside a path, where it is trusted for nothing: whoever uploaded it gains no more than by
    sending it along.
    """

    def __init__(self, store: Store[CATables]) -> None:
        self._store = store

    def anchors(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        if binding != "hub":
            return ()
        return [ca.certificate for ca in self._store.read().cas.all(hub, "hub") if ca.is_verified]

    def intermediates(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        if binding != "hub":
            return ()
        return [ca.certificate for ca in self._store.read().cas.all(hub, "hub")]

    def waivers(self, hub: HubId) -> Waivers:
        return self._store.read().waivers.given(hub)

    def unproven(self, hub: HubId) -> Sequence[tuple[CAName, Certificate]]:
        return [(ca.name, ca.certificate) for ca in self._store.read().cas.all(hub, "hub") if not ca.is_verified]


def _usable(content: bytes | str, now: datetime, waivers: Waivers) -> Certificate:
    certificate = parse_certificate(content)
    check_ca(certificate, now, waivers)
    return certificate


def _find(tables: CATables, hub: HubId, registry: Registry, name: CAName) -> RegisteredCA:
    ca = tables.cas.find(hub, registry, name)
    if ca is None:
        where = "the hub" if registry == "hub" else "provisioning"
        raise NotFound("ca.unknown", f"no CA named '{name}' is registered for {where}", fix="moorage ca list")
    return ca


def _current(tables: CATables, hub: HubId, registry: Registry, name: CAName, if_match: ETag | None) -> RegisteredCA:
    ca = _find(tables, hub, registry, name)
    check_etag(f"CA '{name}'", if_match, version_etag(ca.version))
    return ca


def _changed(
    ca: RegisteredCA, now: datetime, *, certificate: Certificate | None = None, proof: Proof | None = None
) -> RegisteredCA:
    """One version on, and without the code: that was made for the state before."""
    return replace(
        ca,
        certificate=certificate or ca.certificate,
        proof=proof or ca.proof,
        version=ca.version + 1,
        updated=now,
        code=None,
        code_expires=None,
    )


def _put(tables: CATables, ca: RegisteredCA) -> RegisteredCA:
    tables.cas.put(ca)
    tables.outbox.emit(Event("anchors.replaced", ca.hub, ca.registry, {"name": ca.name}))
    return ca


def _log(event: str, ca: RegisteredCA, by: str) -> None:
    facts = {
        "hub": ca.hub,
        "registry": ca.registry,
        "ca": ca.name,
        "subject": ca.certificate.subject,
        "sha256": ca.certificate.sha256,
        "proof": ca.proof,
        "by": by,
    }
    audit.info(
        "%s hub=%s registry=%s ca=%s subject=%r sha256=%s proof=%s by=%r",
        event,
        *facts.values(),
        extra={"event": event, "facts": facts},
    )
