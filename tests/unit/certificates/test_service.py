"""Registered CAs, with real certificates and keys: who may become an anchor, and how one stops being it."""

from __future__ import annotations

import base64
import logging
from datetime import timedelta
from typing import Any

import pytest

from moorage.certificates.model import RegisteredCA
from moorage.certificates.service import MAX_CAS, HubAnchors
from moorage.errors import Conflict, Invalid, NotFound, PreconditionFailed, Refusal, TooLarge
from moorage.ids import DEFAULT_HUB, CAName, ETag, HubId, version_etag
from moorage.pki.certificates import Certificate
from moorage.pki.issue import issue_verification
from moorage.pki.keys import save_key
from moorage.pki.possession import CODE_LIFETIME
from tests.unit.identities.world import CA, NOW, World, make_ca, self_signed

NAME = CAName("plant")


async def upload(world: World, ca: CA, name: str = "plant", **more: Any) -> RegisteredCA:
    return await world.certificates.upload(
        DEFAULT_HUB, "hub", CAName(name), ca.certificate.pem, NOW, by="policy:owner", **more
    )


async def code_for(world: World, if_match: ETag | None = None) -> RegisteredCA:
    return await world.certificates.generate_code(DEFAULT_HUB, "hub", NAME, NOW, by="policy:owner", if_match=if_match)


def note(ca: CA, code: str | None, **more: Any) -> str:
    assert code is not None
    return issue_verification(ca.certificate, ca.key, code, **{"now": NOW, **more}).pem


async def verify(
    world: World, proof: str, if_match: ETag | None = None, after: timedelta = timedelta(0)
) -> RegisteredCA:
    return await world.certificates.verify(
        DEFAULT_HUB, "hub", NAME, proof, NOW + after, by="policy:owner", if_match=if_match
    )


def anchors(world: World) -> list[Certificate]:
    return list(HubAnchors(world.store).anchors(DEFAULT_HUB, "hub"))


def events(world: World) -> list[tuple[str, str]]:
    return [(event.kind, event.subject) for event in world.published]


async def test_a_ca_is_uploaded_given_a_code_and_proven_with_its_key(world: World) -> None:
    ca = make_ca("root")
    made = await upload(world, ca)
    assert (made.proof, made.is_verified, made.code, anchors(world)) == ("none", False, None, [])
    coded = await code_for(world, version_etag(made.version))
    assert coded.code is not None and len(bytes.fromhex(coded.code)) * 8 >= 128
    assert coded.code_expires == NOW + timedelta(days=7)
    proven = await verify(world, note(ca, coded.code), version_etag(coded.version))
    assert (proven.proof, proven.code, proven.code_expires) == ("possession", None, None)
    assert [made.version + 1, made.version + 2] == [coded.version, proven.version]
    assert anchors(world) == [ca.certificate]
    assert world.certificates.get(DEFAULT_HUB, "hub", NAME) == proven
    assert events(world) == [("anchors.replaced", "hub")] * 2


async def test_verified_on_upload_is_vouched_for(world: World) -> None:
    """K-2."""
    made = await upload(world, make_ca("root"), vouched=True)
    assert made.proof == "vouched" and anchors(world) == [made.certificate]


@pytest.mark.parametrize("form", ["pem", "der", "base64 of pem", "base64 of der", "pem with another block after it"])
async def test_every_spelling_of_a_certificate_is_read_and_the_first_block_is_the_ca(world: World, form: str) -> None:
    """K-1."""
    ca = make_ca("root")
    pem, der = ca.certificate.pem, ca.certificate.der
    forms: dict[str, bytes | str] = {
        "pem": pem,
        "der": der,
        "base64 of pem": base64.b64encode(pem.encode()),
        "base64 of der": base64.b64encode(der).decode(),
        "pem with another block after it": pem + make_ca("other").certificate.pem,
    }
    content = forms[form]
    made = await world.certificates.upload(DEFAULT_HUB, "dps", NAME, content, NOW, by="test")
    assert made.certificate == ca.certificate


async def test_an_intermediate_is_registered_as_well_as_a_root(world: World) -> None:
    """K-6."""
    line = make_ca("root").intermediate("line-7")
    await upload(world, line, vouched=True)
    await world.x509_device("pump-1")
    assert world.login("pump-1", chain=line.leaf("pump-1")).signers == (line.certificate.sha256,)


async def test_an_upload_that_holds_a_private_key_is_refused_and_nothing_of_it_is_kept_or_logged(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ca = make_ca("root")
    key = save_key(ca.key).decode()
    with caplog.at_level(logging.DEBUG), pytest.raises(Invalid) as caught:
        await world.certificates.upload(DEFAULT_HUB, "hub", NAME, ca.certificate.pem + key, NOW, by="test")
    assert caught.value.reason == "certificate.private_key"
    body = key.splitlines()[1]
    assert body not in str(caught.value) and body not in caplog.text
    assert world.certificates.all(DEFAULT_HUB, "hub") == [] and events(world) == []


async def test_what_is_no_usable_ca_is_refused_with_the_reason(world: World) -> None:
    leaf = Certificate(self_signed("pump-1").leaf)
    later = NOW + timedelta(days=400)
    for content, now, reason in (
        (leaf.pem, NOW, "ca.not_a_ca"),
        (make_ca("root").certificate.pem, later, "ca.expired"),
        ("hello", NOW, "certificate.malformed"),
        ("", NOW, "certificate.missing"),
    ):
        with pytest.raises(Invalid) as caught:
            await world.certificates.upload(DEFAULT_HUB, "hub", NAME, content, now, by="test")
        assert caught.value.reason == reason
    assert world.certificates.all(DEFAULT_HUB, "hub") == []


async def test_a_name_is_taken_once_whatever_its_case_and_once_more_by_the_other_service(world: World) -> None:
    await upload(world, make_ca("root"))
    with pytest.raises(Conflict) as caught:
        await upload(world, make_ca("other"), name="PLANT")
    assert caught.value.reason == "ca.exists"
    await world.certificates.upload(DEFAULT_HUB, "dps", NAME, make_ca("other").certificate.pem, NOW, by="test")
    assert len(world.certificates.all(DEFAULT_HUB, "hub")) == len(world.certificates.all(DEFAULT_HUB, "dps")) == 1
    assert world.certificates.all(HubId("other"), "hub") == []


async def test_there_is_a_limit_to_how_many_cas_are_registered(world: World) -> None:
    ca = make_ca("root")
    for number in range(MAX_CAS["dps"]):
        name = CAName(f"ca-{number}")
        await world.certificates.upload(DEFAULT_HUB, "dps", name, ca.certificate.pem, NOW, by="test")
    with pytest.raises(TooLarge) as caught:
        await world.certificates.upload(DEFAULT_HUB, "dps", NAME, ca.certificate.pem, NOW, by="test")
    assert caught.value.reason == "ca.too_many"
    await upload(world, ca)


# --- codes ---


async def refused(world: World, proof: str, **more: Any) -> Refusal:
    before = world.certificates.get(DEFAULT_HUB, "hub", NAME)
    with pytest.raises(Refusal) as caught:
        await verify(world, proof, **more)
    assert world.certificates.get(DEFAULT_HUB, "hub", NAME) == before
    assert anchors(world) == []
    return caught.value


async def test_a_code_signed_by_somebody_else_proves_nothing(world: World) -> None:
    ca = make_ca("root")
    await upload(world, ca)
    code = (await code_for(world)).code
    for stranger in (make_ca("root"), make_ca("other"), ca.intermediate("below")):
        assert (await refused(world, note(stranger, code))).reason == "proof.wrong_signer"
    assert (await verify(world, note(ca, code))).is_verified


async def test_another_code_proves_nothing(world: World) -> None:
    ca = make_ca("root")
    await upload(world, ca)
    first, second = (await code_for(world)).code, (await code_for(world)).code
    assert first != second
    for wrong in (first, "0" * 48, (second or "").lower()):
        assert (await refused(world, note(ca, wrong))).reason == "proof.wrong_code"
    assert (await verify(world, note(ca, second))).is_verified


async def test_a_code_is_used_once(world: World) -> None:
    ca = make_ca("root")
    await upload(world, ca)
    proof = note(ca, (await code_for(world)).code)
    await verify(world, proof)
    with pytest.raises(Invalid) as caught:
        await verify(world, proof)
    assert caught.value.reason == "proof.no_code"


async def test_a_code_runs_out(world: World) -> None:
    ca = make_ca("root")
    await upload(world, ca)
    code = (await code_for(world)).code
    proof = note(ca, code, lifetime=timedelta(days=30))
    assert (await refused(world, proof, after=CODE_LIFETIME)).reason == "proof.code_expired"
    assert (await verify(world, proof, after=CODE_LIFETIME - timedelta(seconds=1))).is_verified


async def test_a_verification_certificate_is_good_within_its_dates(world: World) -> None:
    ca = make_ca("root")
    await upload(world, ca)
    code = (await code_for(world)).code
    assert (await refused(world, note(ca, code), after=timedelta(days=2))).reason == "proof.expired"
    early = note(ca, code, now=NOW + timedelta(hours=1))
    assert (await refused(world, early)).reason == "proof.not_yet_valid"
    assert (await verify(world, early, after=timedelta(hours=1))).is_verified


async def test_a_code_is_bound_to_its_slot_and_to_the_state_it_was_made_for(world: World) -> None:
    """T6: after another certificate was put in the slot, neither the code nor the proof is good for it."""
    ca, other = make_ca("root"), make_ca("root")
    await upload(world, ca)
    coded = await code_for(world)
    await upload(world, ca, name="second")
    with pytest.raises(Invalid) as caught:
        await world.certificates.verify(
            DEFAULT_HUB, "hub", CAName("second"), note(ca, coded.code), NOW, by="test", if_match=None
        )
    assert caught.value.reason == "proof.no_code"
    await world.certificates.replace(DEFAULT_HUB, "hub", NAME, other.certificate.pem, NOW, by="test", if_match=None)
    assert (await refused(world, note(other, coded.code))).reason == "proof.no_code"
    stale = version_etag(coded.version)
    assert (await refused(world, note(other, coded.code), if_match=stale)).reason == "etag.stale"


async def test_every_change_takes_the_current_etag(world: World) -> None:
    """K-4."""
    ca = make_ca("root")
    stale = version_etag((await upload(world, ca)).version)
    await code_for(world, stale)
    service = world.certificates
    pem = ca.certificate.pem
    for attempt in (
        service.generate_code(DEFAULT_HUB, "hub", NAME, NOW, by="test", if_match=stale),
        service.verify(DEFAULT_HUB, "hub", NAME, pem, NOW, by="test", if_match=stale),
        service.delete(DEFAULT_HUB, "hub", NAME, by="test", if_match=stale),
        service.replace(DEFAULT_HUB, "hub", NAME, pem, NOW, by="test", if_match=stale),
    ):
        with pytest.raises(PreconditionFailed) as caught:
            await attempt
        assert caught.value.reason == "etag.stale"


async def test_a_ca_that_is_not_registered_is_unknown_to_every_operation(world: World) -> None:
    await world.certificates.upload(DEFAULT_HUB, "dps", NAME, make_ca("root").certificate.pem, NOW, by="test")
    with pytest.raises(NotFound) as caught:
        world.certificates.get(DEFAULT_HUB, "hub", NAME)
    assert caught.value.reason == "ca.unknown"
    with pytest.raises(NotFound):
        await code_for(world)
    with pytest.raises(NotFound):
        await world.certificates.delete(DEFAULT_HUB, "hub", NAME, by="test", if_match=None)


async def test_an_etag_from_before_a_deletion_does_not_fit_what_was_uploaded_after(world: World) -> None:
    before = await upload(world, make_ca("root"))
    await world.certificates.delete(DEFAULT_HUB, "hub", NAME, by="test", if_match=version_etag(before.version))
    await upload(world, make_ca("root"))
    with pytest.raises(PreconditionFailed):
        await code_for(world, version_etag(before.version))


# --- rolls and removals ---


async def test_replacing_cuts_nobody_and_the_new_certificate_has_to_be_proven_again(world: World) -> None:
    old, new = make_ca("root"), make_ca("root 2")
    await upload(world, old, vouched=True)
    changed = await world.certificates.replace(
        DEFAULT_HUB, "hub", NAME, new.certificate.pem, NOW, by="test", if_match=None
    )
    assert (changed.proof, changed.certificate, anchors(world)) == ("none", new.certificate, [])
    assert {kind for kind, _ in events(world)} == {"anchors.replaced"}


async def test_uploading_the_same_certificate_again_keeps_its_proof_or_vouches_for_it(world: World) -> None:
    ca = make_ca("root")
    await upload(world, ca)
    await verify(world, note(ca, (await code_for(world)).code))

    async def again(vouched: bool) -> str:
        changed = await world.certificates.replace(
            DEFAULT_HUB, "hub", NAME, ca.certificate.pem, NOW, by="test", if_match=None, vouched=vouched
        )
        return changed.proof

    assert [await again(False), await again(True)] == ["possession", "possession"]
    await upload(world, ca, name="second")
    changed = await world.certificates.replace(
        DEFAULT_HUB, "hub", CAName("second"), ca.certificate.pem, NOW, by="test", if_match=None, vouched=True
    )
    assert changed.proof == "vouched"


async def test_deleting_a_trusted_ca_tells_which_certificate_is_gone(world: World) -> None:
    """T5."""
    ca = make_ca("root")
    await upload(world, ca, vouched=True)
    await world.certificates.delete(DEFAULT_HUB, "hub", NAME, by="test", if_match=None)
    event = world.published[-1]
    assert (event.kind, event.subject) == ("anchors.removed", "hub")
    assert event.data == {"name": "plant", "thumbprints": [ca.certificate.sha256], "all": True}
    assert anchors(world) == []


async def test_with_the_last_trusted_ca_goes_what_hangs_on_one_that_was_replaced_before(world: World) -> None:
    """T5: replacing cut nobody, so somebody may still be there by the former one."""
    rolled = make_ca("rolled").certificate
    await upload(world, make_ca("root"), vouched=True)
    await upload(world, make_ca("next"), name="next")
    await world.certificates.replace(DEFAULT_HUB, "hub", NAME, rolled.pem, NOW, by="test", if_match=None)
    told = []
    # In the midst of the roll another one that was never trusted cuts nobody; the last one does.
    for name in ("next", "plant"):
        await world.certificates.delete(DEFAULT_HUB, "hub", CAName(name), by="test", if_match=None)
        event = world.published[-1]
        told.append((event.kind, event.data.get("thumbprints"), event.data.get("all")))
    assert told == [("anchors.replaced", None, None), ("anchors.removed", [], True)]
    # Groups trust certificates of their own beside those that are registered for provisioning.
    pem = rolled.pem
    await world.certificates.upload(DEFAULT_HUB, "dps", NAME, pem, NOW, by="test", vouched=True)
    await world.certificates.delete(DEFAULT_HUB, "dps", NAME, by="test", if_match=None)
    assert world.published[-1].data == {"name": "plant", "thumbprints": [rolled.sha256], "all": False}


async def test_deleting_one_of_two_names_of_a_trusted_certificate_or_an_unproven_ca_cuts_nobody(world: World) -> None:
    ca = make_ca("root")
    await upload(world, ca, vouched=True)
    await upload(world, ca, name="second", vouched=True)
    await upload(world, make_ca("other"), name="unproven")
    for name in ("unproven", "second"):
        await world.certificates.delete(DEFAULT_HUB, "hub", CAName(name), by="test", if_match=None)
        assert events(world)[-1] == ("anchors.replaced", "hub")
    assert anchors(world) == [ca.certificate]
    await world.certificates.delete(DEFAULT_HUB, "hub", NAME, by="test", if_match=None)
    assert events(world)[-1] == ("anchors.removed", "hub")


async def test_the_two_services_have_their_own_anchors(world: World) -> None:
    ca = make_ca("root")
    await world.certificates.upload(DEFAULT_HUB, "dps", NAME, ca.certificate.pem, NOW, by="test", vouched=True)
    source = HubAnchors(world.store)
    assert (list(source.anchors(DEFAULT_HUB, "hub")), list(source.intermediates(DEFAULT_HUB, "hub"))) == ([], [])
    await upload(world, ca, vouched=True)
    assert list(source.anchors(DEFAULT_HUB, "enrollment:a")) == list(source.intermediates(DEFAULT_HUB, "x")) == []
    assert list(source.anchors(HubId("other"), "hub")) == []


async def test_each_change_is_in_the_audit_log_with_whoever_made_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ca = make_ca("root\n")
    with caplog.at_level(logging.INFO, "moorage.audit"):
        await upload(world, ca)
        await verify(world, note(ca, (await code_for(world)).code))
        await world.certificates.delete(DEFAULT_HUB, "hub", NAME, by="owner", if_match=None)
        with pytest.raises(NotFound):
            await code_for(world)
    lines = [record.getMessage() for record in caplog.records if record.name == "moorage.audit"]
    assert [line.split()[0] for line in lines] == ["ca.uploaded", "ca.code_generated", "ca.proven", "ca.deleted"]
    assert all(ca.certificate.sha256 in line and "\n" not in line for line in lines)
    assert "by='policy:owner'" in lines[0] and "proof=possession by='owner'" in lines[-1]
