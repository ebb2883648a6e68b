"""What happens by itself: jobs, rules and exports: PC-19 to PC-21."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from playwright.sync_api import expect

from tests.browser.hooks import web_hook
from tests.browser.pages import PATIENCE_MS, Person
from tests.browser.test_devices import Vouched, controller, settings_of, vouched
from tests.e2e.node.workshop import Workshop
from tests.e2e.samples.test_samples import running
from tests.e2e.sdk import until

__all__ = ["vouched"]

NewName = Callable[[str], str]


def template_of_controllers(person: Person, workshop: Workshop, device_id: str, vouched: Vouched) -> None:
    """Let a controller come in once, so that its template is there."""
    with controller(workshop, device_id, vouched(device_id)):
        person.open(f"/devices/{device_id}")
        person.sees("Temperature controller")


def test_pc_20_a_rule_fires_a_web_hook_with_the_fields_that_it_always_had(
    person: Person, workshop: Workshop, new_name: NewName, vouched: Vouched
) -> None:
    device_id, rule = new_name("warm"), new_name("Too warm")
    template_of_controllers(person, workshop, device_id, vouched)
    files = workshop.files(device_id)
    with web_hook() as hook:
        person.open("/rules")
        person.press("+ New")
        person.fill("Name", rule)
        person.select("Device template", "Temperature controller")
        person.page.get_by_label("Telemetry of condition 1").fill("thermostat1.temperature")
        person.page.get_by_label("Comparison of condition 1").select_option("greater")
        person.page.get_by_label("Value of condition 1").fill("1")
        person.page.get_by_label("Kind of action 1").select_option("webhook")
        person.page.get_by_label("Name of action 1").fill("Tell the plant")
        person.page.get_by_label("Callback URL of action 1").fill(hook.url)
        person.press("Save")
        person.sees_heading(rule)
        with controller(workshop, device_id, files):
            body: dict[str, Any] = hook.wait(device_id)
        assert body.keys() >= {"timestamp", "action", "application", "device", "rule"}
        assert body["rule"]["displayName"] == rule
        assert body["action"]["type"] == "WebhookAction"
        assert body["device"].keys() >= {"id", "displayName", "instanceOf", "simulated", "provisioned", "telemetry"}
        person.open("/rules")
        person.press(rule)
        person.press("Delete")
        person.sees_not(rule)


def test_pc_21_an_export_carries_the_documented_fields_and_its_enrichment(
    person: Person, workshop: Workshop, new_name: NewName, vouched: Vouched
) -> None:
    device_id, destination, export = new_name("exported"), new_name("Web hook"), new_name("All telemetry")
    files = vouched(device_id)
    with web_hook() as hook:
        person.open("/exports")
        person.press("+ New destination")
        person.fill("Name", destination)
        person.fill("Address", hook.url)
        person.press("Save")
        person.open("/exports")
        person.press("+ New export")
        person.fill("Name", export)
        person.select("Destination 1", destination)
        person.page.get_by_label("Key of enrichment 1").fill("plant")
        person.page.get_by_label("Value of enrichment 1").fill("north")
        person.press("Save")
        with running(workshop, "python", "pnp_temperature_controller", settings_of(workshop, device_id, files)):
            body: dict[str, Any] = hook.wait(device_id)
        told = body[0] if isinstance(body, list) else body
        fields = {"applicationId", "messageSource", "deviceId", "schema", "templateId", "enqueuedTime", "enrichments"}
        assert told.keys() >= fields | {"telemetry", "messageProperties"}
        assert told["enrichments"] == {"plant": "north"}


def test_pc_19_a_job_sets_a_property_in_batches_and_runs_again_for_who_failed(
    person: Person, workshop: Workshop, new_name: NewName, vouched: Vouched
) -> None:
    device_id, job = new_name("target"), new_name("Set targets")
    template_of_controllers(person, workshop, device_id, vouched)
    person.open("/jobs")
    person.press("+ New")
    person.fill("Name", job)
    group = person.page.get_by_label("Device group", exact=True)
    option = group.locator("option").filter(has_text="Temperature controller").first
    group.select_option(value=option.get_attribute("value"))
    person.waits()
    person.select("Job type", "Property")
    person.page.get_by_label("Property 1", exact=True).fill("thermostat1.targetTemperature")
    person.page.get_by_label("Value of property 1").fill("33")
    person.press("Next")
    person.page.get_by_label("Batches").first.fill("1")
    person.press("Next")
    person.press("Next")
    person.sees("thermostat1.targetTemperature")
    person.press("Run")
    expect(person.page.get_by_text("Completed").first).to_be_visible(timeout=PATIENCE_MS)

    def asked_for() -> Any:
        desired = workshop.bench.twin(device_id)["properties"]["desired"]
        return desired.get("thermostat1", {}).get("targetTemperature")

    until("the job has come to the device", lambda: asked_for() == 33)
