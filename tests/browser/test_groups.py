"""Enrollment groups click by click as in the tutorials of group enrollment: PC-1 to PC-5."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.pages import Person
from tests.e2e.node.workshop import Files, Workshop

NewName = Callable[[str], str]


def new_group(person: Person, name: str, *, edge: bool = False) -> None:
    person.open("/")
    person.go("Permissions", "Device connection groups")
    person.press("+ New")
    person.fill("Name", name)
    person.choose("IoT Edge devices" if edge else "IoT devices")
    person.choose("Certificates (X.509)")
    person.press("Save")
    person.sees_heading(name)


def add_certificate(person: Person, slot: str, file: Path, *, verified: bool = False) -> None:
    person.press(f"Manage {slot}")
    person.upload("Root or intermediate certificate", file)
    if verified:
        person.choose("Set certificate status to verified on upload")
    person.press("Add certificate")


def code_on(person: Person) -> str:
    person.press("Generate verification code")
    person.sees("Verification code")
    step = person.page.get_by_role("listitem").filter(has_text="Verification code")
    return step.locator("code").first.inner_text().strip()


def verify(person: Person, proof: Path) -> None:
    person.upload("Verification certificate", proof)
    person.press("Verify")


def connects(workshop: Workshop, name: str, files: Files, *, fullchain: bool = False) -> None:
    """The tutorials' device program, with the unmodified SDK, provisions, and its telemetry is stored."""
    said = workshop.provision(name, files.fullchain if fullchain else files.cert, files.key)
    assert said == [{"assignedHub": workshop.hub.hostname, "deviceId": name}, {"sent": name}]
    assert workshop.bench.stored(name)


def refused(workshop: Workshop, name: str, files: Files) -> str:
    """Provisioning refuses it; the hub's reason."""
    (said,) = workshop.provision(name, files.cert, files.key)
    assert "error" in said
    return str(workshop.hub.attempts(device=name)[0]["reason"])


def test_pc_1_a_group_is_proven_by_its_key_and_its_device_is_seen(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    root_name, device_id, group = new_name("mytestrootcert"), new_name("sample-device"), new_name("MyX509Group")
    root = workshop.make("root", root_name)
    device = workshop.make("device", device_id, root_name)
    new_group(person, group)
    add_certificate(person, "primary", root.cert)
    person.sees("Needs verification")
    assert refused(workshop, device_id, device) == "enrollment.unproven"
    verify(person, workshop.make_verification(root, code_on(person)).cert)
    person.sees("Verified")
    person.press(f"Back to {group}")
    person.sees("Verified")
    person.sees(workshop.hub.id_scope)
    connects(workshop, device_id, device)
    person.go("Devices")
    person.press(device_id)
    person.sees_heading(device_id)
    person.press("Raw data")
    person.sees("21.5")


def test_pc_2_with_the_switch_on_no_code_is_asked_for(person: Person, workshop: Workshop, new_name: NewName) -> None:
    root_name, device_id = new_name("vouched-root"), new_name("vouched-device")
    root = workshop.make("root", root_name)
    device = workshop.make("device", device_id, root_name)
    new_group(person, new_name("Vouched"))
    add_certificate(person, "primary", root.cert, verified=True)
    person.sees("Verified")
    expect(person.page.get_by_role("button", name="Generate verification code")).to_have_count(0)
    connects(workshop, device_id, device)


def test_pc_3_another_ca_another_name_and_a_stale_code_are_told_apart(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    root_name, other_name = new_name("right-root"), new_name("other-root")
    root, other = workshop.make("root", root_name), workshop.make("root", other_name)
    new_group(person, new_name("Strict"))
    add_certificate(person, "primary", root.cert)
    code = code_on(person)
    told = []
    for ca, common_name in ((other, code), (root, "not-the-code")):
        verify(person, workshop.make_verification(ca, common_name).cert)
        told.append(person.refused())
    stale = workshop.make_verification(root, code).cert.read_bytes()
    assert code_on(person) != code
    late = workshop.folder / f"{root_name}-late.pem"
    late.write_bytes(stale)
    verify(person, late)
    told.append(person.refused())
    assert len({text.strip() for text in told}) == 3, told
    person.sees("Needs verification")


def test_pc_4_and_5_an_intermediate_may_be_the_anchor_or_has_to_be_sent(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    root_name, middle_name = new_name("chain-root"), new_name("chain-middle")
    first, second = new_name("below-middle"), new_name("below-root")
    root = workshop.make("root", root_name)
    middle = workshop.make("intermediate", middle_name, root_name)
    devices = {name: workshop.make("device", name, middle_name) for name in (first, second)}

    new_group(person, new_name("Middle"))
    add_certificate(person, "primary", middle.cert, verified=True)
    person.sees("Verified")
    connects(workshop, first, devices[first])
    person.press("Remove")
    person.sees("Add certificate")

    new_group(person, new_name("Root"))
    add_certificate(person, "primary", root.cert, verified=True)
    person.sees("Verified")
    assert refused(workshop, second, devices[second]) != ""
    person.go("Connection attempts")
    person.page.get_by_role("row").filter(has_text=second).get_by_role("link").first.click()
    person.sees("intermediate")
    connects(workshop, second, devices[second], fullchain=True)
