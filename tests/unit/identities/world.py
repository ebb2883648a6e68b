"""A hub's registry, trust and judge over a real store and bus, and a small PKI that issues for it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite.store import SqliteStore
from moorage.certificates.service import CertificateService, HubAnchors
from moorage.errors import Unauthenticated
from moorage.events import Event
from moorage.identities.access import Access
from moorage.identities.credentials import AuthenticatedIdentity, Presented
from moorage.identities.judge import Authenticator
from moorage.identities.model import (
    Authentication,
    ByAuthority,
    BySharedKey,
    ByThumbprint,
    Identity,
    SharedAccessPolicy,
)
from moorage.identities.owner import OwnerKey
from moorage.identities.policies import Policies, PolicyCache
from moorage.identities.registry import IdentityDraft, IdentityRegistry
from moorage.identities.sas import make_token
from moorage.identities.trust import TrustCache
from moorage.ids import (
    DEFAULT_HUB,
    CAName,
    DeviceId,
    EnrollmentGroupId,
    HubId,
    IdentityName,
    ModuleId,
    Secret,
    Thumbprint,
)
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.issue import issue_device, issue_intermediate, issue_root, issue_self_signed
from moorage.pki.keys import PrivateKey, make_key

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)
HOST = "hub.example"
YEAR = timedelta(days=365)


class CA:
    """A certificate authority with its key."""

    def __init__(self, certificate: Certificate, key: PrivateKey, above: tuple[Certificate, ...] = ()) -> None:
        self.certificate = certificate
        self.key = key
        # What a device sends after its leaf: this certificate and those above it, the root left out.
        self.sent = above

    def intermediate(self, common_name: str) -> CA:
        key = make_key()
        certificate = issue_intermediate(
            key.public_key(), common_name, issuer=self.certificate, issuer_key=self.key, now=NOW, lifetime=YEAR
        )
        return CA(certificate, key, (certificate, *self.sent))

    def leaf(self, common_name: str, *, now: datetime = NOW, lifetime: timedelta = timedelta(days=30)) -> PeerChain:
        """A device's chain as it sends it."""
        certificate = issue_device(
            make_key().public_key(),
            common_name,
            issuer=self.certificate,
            issuer_key=self.key,
            now=now,
            lifetime=lifetime,
        )
        return PeerChain.of((certificate, *self.sent))


def make_ca(common_name: str) -> CA:
    key = make_key()
    return CA(issue_root(key, common_name, now=NOW, lifetime=YEAR), key)


def self_signed(common_name: str, *, now: datetime = NOW, lifetime: timedelta = timedelta(days=30)) -> PeerChain:
    return PeerChain.of([issue_self_signed(make_key(), common_name, now=now, lifetime=lifetime)])


def named(text: str) -> IdentityName:
    device_id, _, module_id = text.partition("/")
    return IdentityName(DeviceId(device_id), ModuleId(module_id) if module_id else None)


def thumbprint(chain: PeerChain, kind: str = "sha256") -> Thumbprint:
    leaf = Certificate(chain.leaf)
    return leaf.sha256 if kind == "sha256" else leaf.sha1


class Groups:
    """An anchor source for enrollment groups whose contents a test sets."""

    def __init__(self) -> None:
        self.trusted: dict[str, list[Certificate]] = {}
        self.reads = 0

    def anchors(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        self.reads += 1
        return self.trusted.get(binding, [])

    def intermediates(self, hub: HubId, binding: str) -> Sequence[Certificate]:
        return ()


class World:
    """One hub named `hub.example`. Made on a running loop, where its caches listen to the bus."""

    def __init__(self) -> None:
        self.bus = LocalBus()
        self.store = SqliteStore(":memory:", secrets_key=bytes(32), bus=self.bus)
        self.published: list[Event] = []
        self.bus.subscribe(self.published.append)
        self.groups = Groups()
        self.hosts: frozenset[str] = frozenset({HOST, "localhost"})
        self.registry = IdentityRegistry(self.store)
        self.certificates = CertificateService(self.store)
        self.policies = Policies(self.store)
        self.policy_cache = PolicyCache(self.store, self.bus)
        self.trust = TrustCache(HubAnchors(self.store), self.groups, self.bus)
        self.judge = Authenticator(self.store, self.policy_cache, self.trust, lambda: self.hosts)
        self.owner = OwnerKey.generate()
        self.access = Access(self.policy_cache, self.owner, lambda: self.hosts)

    async def device(self, name: str, authentication: Authentication | None = None, **members: object) -> Identity:
        draft = IdentityDraft(named(name), authentication, **members)  # type: ignore[arg-type] # names are checked there
        return await self.registry.create(DEFAULT_HUB, draft, NOW)

    async def x509_device(self, name: str, group: str | None = None) -> Identity:
        return await self.device(name, ByAuthority(EnrollmentGroupId(group) if group else None))

    async def pinned_device(self, name: str, primary: PeerChain, secondary: PeerChain | None = None) -> Identity:
        second = None if secondary is None else thumbprint(secondary)
        return await self.device(name, ByThumbprint(thumbprint(primary), second))

    async def trust_ca(self, ca: CA, name: str = "plant") -> None:
        await self.certificates.upload(
            DEFAULT_HUB, "hub", CAName(name), ca.certificate.pem, NOW, by="test", vouched=True
        )

    async def policy(self, name: str) -> SharedAccessPolicy:
        await self.policies.ensure_defaults(DEFAULT_HUB)
        return self.policies.get(DEFAULT_HUB, "hub", name)

    def login(
        self,
        name: str,
        *,
        chain: PeerChain | None = None,
        token: Secret | None = None,
        now: datetime = NOW,
    ) -> AuthenticatedIdentity:
        return self.judge.authenticate(DEFAULT_HUB, named(name), Presented(chain, token, "192.0.2.1"), now)

    def refusal(
        self,
        name: str,
        *,
        chain: PeerChain | None = None,
        token: Secret | None = None,
        now: datetime = NOW,
    ) -> Unauthenticated:
        """The refusal of a login that must not succeed."""
        try:
            self.login(name, chain=chain, token=token, now=now)
        except Unauthenticated as refusal:
            return refusal
        raise AssertionError(f"{name} was let in")


def own_token(
    identity: Identity, *, slot: str = "primary", expires: datetime = NOW + timedelta(hours=1), resource: str = ""
) -> Secret:
    """A token signed with the identity's own key."""
    assert isinstance(identity.authentication, BySharedKey)
    key = identity.authentication.primary if slot == "primary" else identity.authentication.secondary
    name = identity.name
    path = f"{HOST}/devices/{name.device_id}" + ("" if name.module_id is None else f"/modules/{name.module_id}")
    return make_token(resource or path, key, expires)


def policy_token(policy: SharedAccessPolicy, resource: str = HOST, *, slot: str = "primary") -> Secret:
    key = policy.primary if slot == "primary" else policy.secondary
    return make_token(resource, key, NOW + timedelta(hours=1), policy.name)
