"""The supply chain as certificates tell it, and where another certificate would fit.

    Company-X ─► Factory-Y ─► Technician-Z ─► 412 devices          from the chains that devices showed

The tree is merged from issuer paths (`fleet/sightings.py`) and from what operators registered, top down. What somebody
hands in is put to the same judgement that a registering device meets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.errors import Check, Refusal
from moorage.fleet.sightings import NO_PATH, IssuerPath, PathTally, SightingTables, path_of
from moorage.identities.credentials import Presented
from moorage.ids import HubId, IdScope, RegistrationId
from moorage.pki.certificates import Certificate, PeerChain
from moorage.pki.diagnosis import Finding, diagnose_ca, diagnose_device
from moorage.pki.policy import is_signed_by
from moorage.provisioning.anchors import signers_of, vouching_certificates
from moorage.provisioning.attestation import Admission, Claim, Groups, judge_group, judge_individual
from moorage.provisioning.model import EnrollmentGroup, ProvisioningTables
from moorage.store import Store

__all__ = ["ChainTables", "Fit", "Node", "SupplyChain", "SupplyChains", "supply_chain"]

_PAGE: Final = 500
# A tree with more cannot be looked at; a thousand paths is more than any fleet of ours has.
_MAX_NODES: Final = 300

# What a diagnosis says that does not know which CAs are registered.
_OF_TRUST: Final = ("chain.incomplete", "chain.untrusted", "chain.self_signed")


class ChainTables(ProvisioningTables, SightingTables, Protocol):
    """What a supply chain is made of."""


@dataclass(slots=True)
class Node:
    """A CA in the tree. `devices` have a leaf that it signed itself; `trusted_by` names who anchors in it."""

    certificate: Certificate
    devices: int = 0
    trusted_by: tuple[str, ...] = ()
    children: list[Node] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Devices below it, however far."""
        return self.devices + sum(child.total for child in self.children)

    @property
    def name(self) -> str:
        names = self.certificate.subject_name.common_names()
        return names[0] if len(names) == 1 else self.certificate.subject


@dataclass(frozen=True, slots=True)
class SupplyChain:
    """`roots` have nobody above them, or nobody who is known. `alone` devices showed a leaf without a known issuer."""

    roots: tuple[Node, ...]
    alone: int
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """Where what was handed in fits.

    Attributes:
        certificates: as they came.
        path: above the first of them, closest first.
        findings: what a hub would refuse of them, and what somebody should know.
        checks: of provisioning's judgement, for a device's certificate.
        admitted_by: the group or enrollment that would let it in, '' for none.
        refusal: why not.
    """

    certificates: tuple[Certificate, ...]
    path: tuple[Certificate, ...]
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...] = ()
    admitted_by: str = ""
    refusal: Refusal | None = None

    @property
    def is_ca(self) -> bool:
        return self.certificates[0].is_ca


class SupplyChains:
    def __init__(self, hub: HubId, scope: IdScope, store: Store[ChainTables], clock: Clock) -> None:
        self._hub = hub
        self._scope = scope
        self._store = store
        self._clock = clock

    async def draw(self, actor: Actor) -> SupplyChain:
        """CAs are everybody's; devices are counted that the actor sees."""

        def work(tables: ChainTables) -> SupplyChain:
            rows = tables.sightings
            return supply_chain(
                rows.paths(self._hub), rows.tallies(self._hub, actor.organizations), _trust(tables, self._hub)
            )

        return await self._store.scan(work)

    async def fit(self, certificates: Sequence[Certificate]) -> Fit:
        """Judge `certificates`, at least one, as if a device sent them in this order, or its CA was registered."""
        now = self._clock.now()

        def work(tables: ChainTables) -> Fit:
            first = certificates[0]
            observed = [each for path in tables.sightings.paths(self._hub) for each in path.certificates]
            known = dict.fromkeys([*vouching_certificates(tables, self._hub), *observed])
            path = path_of(first, certificates[1:], list(known)).certificates
            waivers = tables.waivers.given(self._hub)
            if first.is_ca:
                return Fit(tuple(certificates), path, tuple(diagnose_ca(first, now, waivers)))
            findings = tuple(diagnose_device(certificates, now, waivers=waivers))
            return self._judged(tables, certificates, path, findings, now)

        return await self._store.scan(work)

    def _judged(
        self,
        tables: ChainTables,
        certificates: Sequence[Certificate],
        path: tuple[Certificate, ...],
        findings: tuple[Finding, ...],
        now: datetime,
    ) -> Fit:
        waivers = tables.waivers.given(self._hub)
        presented = Presented(PeerChain.of(certificates), None, "")
        try:
            claim = Claim(self._scope, RegistrationId(certificates[0].common_name()))
            own = tables.individuals.find(self._hub, claim.registration_id)
            if own is not None:
                admission = judge_individual(own, claim, presented, now, waivers)
            else:
                admission = judge_group(_groups(tables, self._hub), claim, presented, now)
        except Refusal as refusal:
            return Fit(tuple(certificates), path, findings, refusal.checks, refusal=refusal)
        # What is missing of the chain is known here, so it is missing no more.
        told = tuple(each for each in findings if each.reason not in _OF_TRUST)
        return Fit(tuple(certificates), path, told, admission.checks, _who(admission))


def supply_chain(
    paths: Sequence[IssuerPath], tallies: Sequence[PathTally], trust: Sequence[tuple[Certificate, str]]
) -> SupplyChain:
    """Merge paths, each closest first, into trees, and put what is trusted and was not seen where it belongs."""
    devices = {tally.path_id: tally.devices for tally in tallies}
    nodes: dict[Certificate, Node] = {}
    below: dict[Certificate, Certificate] = {}
    seen = sorted((each for each in paths if devices.get(each.path_id)), key=lambda each: -devices[each.path_id])
    for path in seen:
        for certificate in path.certificates:
            nodes.setdefault(certificate, Node(certificate))
        for lower, upper in zip(path.certificates, path.certificates[1:], strict=False):
            # Two CAs that signed each other have no end upwards: what was seen most says which one is on top.
            if lower not in below and lower not in _upwards(upper, below):
                below[lower] = upper
                nodes[upper].children.append(nodes[lower])
        nodes[path.certificates[0]].devices += devices[path.path_id]
    for certificate, who in trust:
        if certificate not in nodes:
            nodes[certificate] = Node(certificate)
            issuer = _issuer_among(certificate, nodes)
            if issuer is not None:
                below[certificate] = issuer
                nodes[issuer].children.append(nodes[certificate])
        nodes[certificate].trusted_by += (who,)
    kept = list(nodes.values())[:_MAX_NODES]
    held = {id(node) for node in kept}
    for node in kept:
        node.children = [child for child in node.children if id(child) in held]
    roots = tuple(node for node in kept if node.certificate not in below)
    return SupplyChain(
        tuple(sorted(roots, key=lambda node: (-node.total, node.name))), devices.get(NO_PATH, 0), len(nodes) > len(kept)
    )


def _upwards(certificate: Certificate, below: Mapping[Certificate, Certificate]) -> Iterator[Certificate]:
    """It and all above it."""
    above: Certificate | None = certificate
    while above is not None:
        yield above
        above = below.get(above)


def _issuer_among(certificate: Certificate, nodes: dict[Certificate, Node]) -> Certificate | None:
    if certificate.is_self_issued:
        return None
    return next(
        (
            each
            for each in nodes
            if each != certificate and each.subject_key == certificate.issuer_key and is_signed_by(certificate, each)
        ),
        None,
    )


def _all_groups(tables: ChainTables, hub: HubId) -> list[EnrollmentGroup]:
    groups: list[EnrollmentGroup] = []
    after = ""
    while page := tables.groups.all(hub, _PAGE, after):
        groups += page
        after = page[-1].group_id.lower()
    return sorted(groups, key=lambda group: (group.created, group.group_id))


def _groups(tables: ChainTables, hub: HubId) -> Groups:
    groups = _all_groups(tables, hub)
    return Groups(
        signers=[signer for group in groups for signer in signers_of(group, tables.cas)],
        groups=groups,
        authorities=tables.cas.all(hub, "dps"),
        waivers=tables.waivers.given(hub),
    )


def _trust(tables: ChainTables, hub: HubId) -> list[tuple[Certificate, str]]:
    """Every certificate that is proven, and who anchors in it."""
    found = [(ca.certificate, f"CA {ca.name}") for ca in tables.cas.all(hub, "hub") if ca.is_verified]
    for group in _all_groups(tables, hub):
        found += [
            (signer.certificate, f"{group.display_name or group.group_id}, {signer.slot}")
            for signer in signers_of(group, tables.cas)
            if signer.is_proven
        ]
    return found


def _who(admission: Admission) -> str:
    if admission.group_id is not None:
        return f"the group {admission.group_id}, as {admission.device_id}"
    return f"the individual enrollment of {admission.device_id}"
