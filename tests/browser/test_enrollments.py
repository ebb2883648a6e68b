"""Devices with certificates of their own, as in the tutorials, and how they and groups roll: PC-6 to PC-9, PC-16."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.browser.pages import Person
from tests.browser.test_groups import add_certificate, connects, new_group, refused
from tests.e2e.node.workshop import Files, Workshop

NewName = Callable[[str], str]


def new_device(person: Person, device_id: str, *, template: str = "") -> None:
    person.open("/devices")
    person.press("+ New")
    person.fill("Device ID", device_id)
    if template:
        person.select("Device template", template)
    person.press("Create")
    person.sees_heading(device_id)


def open_enrollment(person: Person, device_id: str) -> None:
    """Connect, Individual enrollment, Certificates (X.509)."""
    person.open(f"/devices/{device_id}")
    person.press("Connect")
    person.select("Authentication type", "Individual enrollment")
    person.select("Authentication method", "Certificates (X.509)")


def enroll(person: Person, device_id: str, primary: Files) -> None:
    open_enrollment(person, device_id)
    person.upload("Primary certificate", primary.cert)
    person.press("Save")
    person.sees(primary.certificate.sha256[:4])


def test_pc_6_either_certificate_of_an_individual_enrollment_connects(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    first, second = new_name("mytestselfcertprimary"), new_name("mytestselfcertsecondary")
    primary, secondary = workshop.make("device", first), workshop.make("device", second)
    new_device(person, first)
    open_enrollment(person, first)
    person.sees(workshop.hub.id_scope)
    person.upload("Primary certificate", primary.cert)
    person.upload("Secondary certificate", secondary.cert)
    person.press("Save")
    for files in (primary, secondary):
        person.sees(files.certificate.sha256[:4])
    connects(workshop, first, primary)
    # The tutorial's secondary certificate carries its own name (decisions T3).
    connects(workshop, first, secondary)


def test_pc_7_an_individual_enrollment_beats_a_group_that_fits(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    root_name, device_id = new_name("beaten-root"), new_name("own-way")
    root = workshop.make("root", root_name)
    below = workshop.make("device", device_id, root_name)
    new_group(person, new_name("Beaten"))
    add_certificate(person, "primary", root.cert, verified=True)
    person.sees("Verified")
    below = workshop.put_away(device_id)
    pinned = workshop.make("device", device_id)
    new_device(person, device_id)
    enroll(person, device_id, pinned)
    assert refused(workshop, device_id, below) != ""
    connects(workshop, device_id, pinned)
    person.press("Remove individual enrollment")
    person.sees("Derived from the keys of the group")
    connects(workshop, device_id, below)


def test_pc_8_a_roll_by_the_secondary_slot_refuses_a_device_at_no_moment(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    device_id = new_name("rolling")
    old = workshop.make("device", device_id)
    new_device(person, device_id)
    enroll(person, device_id, old)
    said: list[str] = []
    has_rolled = threading.Event()

    def go_on_registering() -> None:
        while True:
            is_last = has_rolled.is_set()
            said.append(str(workshop.provision(device_id, old.cert, old.key)))
            if is_last:
                return

    old = workshop.put_away(device_id)
    new = workshop.make("device", device_id)
    registering = threading.Thread(target=go_on_registering)
    registering.start()
    try:
        open_enrollment(person, device_id)
        person.upload("Secondary certificate", new.cert)
        person.press("Save")
        person.sees(new.certificate.sha256[:4])
    finally:
        has_rolled.set()
        registering.join()
    assert len(said) > 1
    assert not [each for each in said if "error" in each]
    connects(workshop, device_id, new)


def test_pc_9_a_breached_certificate_is_refused_at_the_next_registration(
    person: Person, workshop: Workshop, new_name: NewName
) -> None:
    device_id = new_name("breached")
    leaked = workshop.make("device", device_id)
    new_device(person, device_id)
    enroll(person, device_id, leaked)
    connects(workshop, device_id, leaked)
    leaked = workshop.put_away(device_id)
    fresh = workshop.make("device", device_id)
    enroll(person, device_id, fresh)
    assert refused(workshop, device_id, leaked) != ""
    connects(workshop, device_id, fresh)


def test_pc_16_an_edge_group_makes_edge_devices(person: Person, workshop: Workshop, new_name: NewName) -> None:
    root_name, device_id = new_name("edge-root"), new_name("edge-device")
    root = workshop.make("root", root_name)
    device = workshop.make("device", device_id, root_name)
    new_group(person, new_name("Edges"), edge=True)
    add_certificate(person, "primary", root.cert, verified=True)
    person.sees("Verified")
    connects(workshop, device_id, device)
    (document,) = workshop.hub.ask("device", "show", device_id)
    assert document["capabilities"] == {"iotEdge": True}
    person.open(f"/devices/{device_id}")
    person.sees("Edge")
