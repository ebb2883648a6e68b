"""IoT Plug and Play: a temperature controller with two thermostats.

It announces its model, reports properties of each component, answers writable properties with what it made of them,
and has commands.
"""

import json
import os
import platform
import random
import resource
from collections import deque
from datetime import UTC, datetime
from typing import Any

from azure.iot.device import Message, MethodResponse
from device import connected, repeat, say

MODEL_ID = "dtmi:com:example:TemperatureController;2"


class Thermostat:
    def __init__(self) -> None:
        self.target = self.temperature = random.uniform(20, 25)
        # (time, temperature)
        self.readings: deque[tuple[datetime, float]] = deque(maxlen=1000)

    def measure(self) -> float:
        """Goes half of the way to where it should be."""
        self.temperature += (self.target - self.temperature) / 2
        self.readings.append((datetime.now(UTC), self.temperature))
        return self.temperature

    def highest(self) -> float:
        return max(temperature for _, temperature in self.readings)

    def report(self, since: str | None) -> tuple[int, Any]:
        """Status and answer of getMaxMinReport, over the readings at or after `since`."""
        try:
            begin = datetime.fromisoformat(since).astimezone(UTC) if since else None
        except (TypeError, ValueError):
            return 400, "since has to be a time"
        readings = [each for each in list(self.readings) if begin is None or each[0] >= begin]
        if not readings:
            return 404, "there are no readings"
        temperatures = [temperature for _, temperature in readings]
        return 200, {
            "maxTemp": max(temperatures),
            "minTemp": min(temperatures),
            "avgTemp": sum(temperatures) / len(temperatures),
            "startTime": readings[0][0].isoformat(),
            "endTime": readings[-1][0].isoformat(),
        }


thermostats = {"thermostat1": Thermostat(), "thermostat2": Thermostat()}


def component(**properties: Any) -> dict[str, Any]:
    return {"__t": "c", **properties}


def answer_to(desired: dict[str, Any]) -> dict[str, Any]:
    """The patch that answers a change of desired properties.

    Each acknowledgement has the value, a code (ac), the version it was asked in (av) and a description (ad).
    """
    version = desired["$version"]
    patch = {}
    for name, thermostat in thermostats.items():
        target = (desired.get(name) or {}).get("targetTemperature")
        if target is None:
            continue
        code, text = 200, "done"
        if isinstance(target, (int, float)) and not isinstance(target, bool):
            thermostat.target = float(target)
        else:
            target, code, text = thermostat.target, 400, "targetTemperature has to be a number"
        patch[name] = component(targetTemperature={"value": target, "ac": code, "av": version, "ad": text})
    return patch


def command(name: str, payload: Any) -> tuple[int, Any]:
    """Run a command; its status and answer."""
    where, _, what = name.partition("*")
    if name == "reboot":
        for thermostat in thermostats.values():
            thermostat.readings.clear()
        return 200, None
    if where in thermostats and what == "getMaxMinReport":
        return thermostats[where].report(payload or None)
    return 404, f"there is no command {name}"


def properties() -> dict[str, Any]:
    """What is reported at the start."""
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    reported = {
        "serialNumber": "SN-0001",
        "deviceInformation": component(
            manufacturer="Example Instruments",
            model="Two zones",
            swVersion="1.0",
            osName=platform.system(),
            processorArchitecture=platform.machine(),
            processorManufacturer=platform.processor() or "unknown",
            totalStorage=1024,
            totalMemory=pages * page_size // 1024,
        ),
    }
    for name, thermostat in thermostats.items():
        thermostat.measure()
        reported[name] = component(maxTempSinceLastReboot=thermostat.highest())
    return reported


def message(content: dict[str, Any], component_name: str = "") -> Any:
    made = Message(json.dumps(content), content_encoding="utf-8", content_type="application/json")
    if component_name:
        made.custom_properties["$.sub"] = component_name
    return made


def main() -> None:
    with connected(MODEL_ID) as client:

        def answer_command(request: Any) -> None:
            status, payload = command(request.name, request.payload)
            client.send_method_response(MethodResponse.create_from_method_request(request, status, payload))
            say(f"command {request.name}: {status}")

        def answer_desired(desired: dict[str, Any]) -> None:
            if patch := answer_to(desired):
                client.patch_twin_reported_properties(patch)
                say(f"reported {json.dumps(patch)}")

        def send() -> None:
            for name, thermostat in thermostats.items():
                client.send_message(message({"temperature": thermostat.measure()}, name))
            client.send_message(message({"workingSet": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))

        client.on_method_request_received = answer_command
        client.patch_twin_reported_properties(properties())
        client.on_twin_desired_properties_patch_received = answer_desired
        # What was asked while nobody was here.
        answer_desired(client.get_twin()["desired"])
        say("connected")
        repeat(send)


main()
