"""Rehearsals and rolls of CAs, and where a certificate fits, over our own REST (central.md 25)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from moorage.identities.model import ByAuthority
from moorage.provisioning.drafts import CertificatesDraft, GroupDraft
from tests import certs
from tests.api.application.world import Own
from tests.api.served import ServedHub
from tests.servers.world import World, running
from tests.web.test_certificates import COMPANY, FACTORY, GROUP, OTHER, held, show

REHEARSAL: dict[str, Any] = {"group": GROUP, "slot": "primary"}
ROLL: dict[str, Any] = {**REHEARSAL, "certificate": OTHER.pem()}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path / "hub") as world:
        yield world


@pytest.fixture
async def own(world: World) -> Own:
    """A device below a factory whose root a group trusts, and one below the root itself."""
    draft = GroupDraft(group_id=GROUP, attestation=CertificatesDraft(COMPANY.certificate))
    await world.app.enrollments.put_group(draft, if_match=None, by="tests", vouched=True)
    for name, issuer in (("p1", FACTORY), ("p2", COMPANY)):
        await world.create(name, ByAuthority(GROUP))
        show(world, name, certs.device(issuer, name))
    return Own(ServedHub(world.app))


async def test_a_roll_of_a_group_is_rehearsed_done_watched_and_undone(own: Own, world: World) -> None:
    same = await own.post("/certificates/rehearsal", {**REHEARSAL, "certificate": COMPANY.pem()})
    assert same.status == 200, same.body
    assert (same.json()["fine"], same.json()["stranded"]) == (2, 0)
    other = (await own.post("/certificates/rehearsal", ROLL)).json()
    assert (other["fine"], other["stranded"]) == (0, 2)
    assert [each["device"] for each in other["devices"]] == ["p1", "p2"]
    assert all(each["reason"].startswith("chain.") and not each["stays"] for each in other["paths"])
    assert (await own.post("/certificates/rehearsal", REHEARSAL)).json()["stranded"] == 2

    assert (await own.get("/certificates/rolls/line-7")).json()["error"]["reason"] == "roll.none"
    stale = await own.post("/certificates/rolls", {**ROLL, "etag": "old"})
    assert (stale.status, stale.json()["error"]["reason"]) == (412, "etag.stale")
    done = await own.post("/certificates/rolls", ROLL)
    assert done.status == 200, done.body
    assert (done.json()["group"], done.json()["slot"], done.json()["by"]) == (GROUP, "primary", "owner")
    assert done.json()["old"]["sha256Thumbprint"] == COMPANY.certificate.sha256
    assert held(world) == ["CN=Company-W"]
    assert (await own.get("/certificates/rolls")).json()["value"] == [done.json()]
    show(world, "p1", certs.device(OTHER, "p1"))
    far = (await own.get("/certificates/rolls/line-7")).json()
    assert (far["changed"], far["waiting"], [each["device"] for each in far["devices"]]) == (1, 1, ["p2"])
    assert (await own.post("/certificates/rolls/line-7/undo")).status == 204
    assert held(world) == ["CN=Company-X"]
    assert (await own.post("/certificates/rolls/line-7/undo")).json()["error"]["reason"] == "roll.none"


async def test_a_roll_of_a_ca_of_the_hub_is_rehearsed_done_and_undone(own: Own, world: World) -> None:
    await world.upload(COMPANY)
    rehearsed = await own.post("/certificates/rehearsal", {"ca": "plant"})
    assert (rehearsed.status, rehearsed.json()["fine"]) == (200, 0), rehearsed.body
    done = await own.post("/certificates/rolls", {"ca": "plant", "certificate": OTHER.pem()})
    assert (done.status, done.json()["ca"]) == (200, "plant"), done.body
    assert (await own.get("/certificates/caRolls/plant")).json()["new"]["subject"] == "CN=Company-W"
    assert (await own.post("/certificates/caRolls/plant/undo")).status == 204
    assert (await own.get("/certificates/caRolls/plant")).json()["error"]["reason"] == "roll.none"


async def test_what_cannot_be_rolled_is_refused_with_what_is_wrong(own: Own) -> None:
    for change, status, reason in (
        ({"certificate": "no certificate"}, 400, "certificate.malformed"),
        ({"certificate": None}, 400, "body.member"),
        ({"group": "nobody"}, 404, "enrollment.unknown"),
        ({"group": "SAS-IoT-Devices"}, 409, "enrollment.ca_references"),
        ({"group": None}, 400, "body.member"),
        ({"ca": "plant"}, 400, "body.member"),
        ({"slot": "third"}, 400, "body.member"),
        ({"speed": "fast"}, 400, "body.member"),
        ({"group": None, "slot": None, "ca": "nobody"}, 404, "ca.unknown"),
    ):
        refused = await own.post("/certificates/rolls", {**ROLL, **change})
        assert refused.status == status, (change, refused.body)
        assert refused.json()["error"]["reason"] == reason, (change, refused.body)
    for path in ("rehearsal", "rolls"):
        leaf = await own.post(f"/certificates/{path}", {**ROLL, "certificate": certs.device(COMPANY, "p9").pem()})
        assert leaf.status == 400 and leaf.json()["error"]["reason"].startswith("ca."), leaf.body


async def test_a_certificate_is_judged_among_those_that_devices_show(own: Own) -> None:
    device = certs.device(FACTORY, "p9")
    fit = await own.post("/certificates/chains", {"certificate": device.pem() + FACTORY.pem()})
    assert fit.status == 200, fit.body
    document = fit.json()
    assert [each["subject"] for each in document["path"]] == ["CN=Factory-Y", "CN=Company-X"]
    assert GROUP in document["admittedBy"] and "refusal" not in document
    stranger = (await own.post("/certificates/chains", {"certificate": certs.device(OTHER, "p9").pem()})).json()
    assert stranger["refusal"]["reason"].startswith("chain.") and "admittedBy" not in stranger
    for body, reason in (({}, "body.member"), ({"certificate": "none"}, "certificate.malformed")):
        assert (await own.post("/certificates/chains", body)).json()["error"]["reason"] == reason
