"""A plant to look at: pumps in two cities with certificates of a supply chain, a day of telemetry, and one refusal.

Company-X signs Factory-Y, which signs Technician-Z, who signs the pumps; they provision with the unmodified SDK, so all
that pages show of them is what devices left behind. Telemetry of the day before is written as the hub itself writes.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from azure.iot.device.exceptions import ClientError

from moorage.adapters.log.segment_log import SegmentLog
from moorage.adapters.log.stream import LogSettings
from moorage.errors import Unavailable
from moorage.hub.telemetry_log import SourceHeader, partition_of
from tests.e2e.sdk import X509, Bench, Message, MethodResponse, client
from tests.hubs import Hub

__all__ = ["MODEL", "PUMPS", "TEMPLATE", "build", "knock", "run_apart", "running_pumps"]

T = TypeVar("T")

TEMPLATE: Final = "dtmi:plant:pumpTemplate;1"
MODEL: Final = "dtmi:plant:pump;1"
PUMPS: Final = tuple(f"pump-{number:02}" for number in range(1, 9))
_STABLE: Final = {"api-version": "2022-07-31"}
_DAY_S: Final = 86_400
_EVERY_S: Final = 60
_METHOD: Final = '{"scope":"device","type":"x509Certificate","issuer":"external","acceptingIpFilterRule":null}'


def build(hub: Hub, folder: Path, count: int = len(PUMPS)) -> None:
    """All of it, with so many pumps, on a hub that runs; it is stopped once in between."""
    pumps = PUMPS[:count]
    _templates_and_places(hub)
    _supply_chain(hub, folder, pumps)
    bench = Bench(hub, folder)
    for number, name in enumerate(pumps):
        _provision(bench, folder, name)
        place = "ghent" if number % 3 else "antwerp"
        shown = {"displayName": f"Pump {number + 1}, hall {1 + number % 3}", "organizations": [place]}
        _api(hub, "PATCH", f"devices/{name}", {**shown, "template": TEMPLATE})
        _api(hub, "PATCH", f"devices/{name}/properties", {"site": place.title()})
    _refusal(bench, folder)
    _dashboard(hub)
    generations = {name: hub.ask("device", "show", name)[0]["generationId"] for name in pumps}
    hub.stop()
    run_apart(_write_day(hub.data / "telemetry", generations))
    hub.start()


def run_apart(work: Coroutine[Any, Any, T]) -> T:
    """In a thread: Playwright keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def _api(hub: Hub, method: str, path: str, body: Any) -> Any:
    return hub.request(method, f"/api/{path}", body=body, query=_STABLE)


def _templates_and_places(hub: Hub) -> None:
    def telemetry(name: str, label: str, semantic: str, unit: str) -> dict[str, Any]:
        return {
            "@type": ["Telemetry", semantic],
            "name": name,
            "displayName": label,
            "schema": "double",
            "unit": unit,
        }

    contents = [
        telemetry("temperature", "Temperature", "Temperature", "degreeCelsius"),
        telemetry("pressure", "Pressure", "Pressure", "bar"),
        telemetry("speed", "Speed", "AngularVelocity", "revolutionPerMinute"),
        {"@type": "Property", "name": "serialNumber", "displayName": "Serial number", "schema": "string"},
        {
            "@type": "Property",
            "name": "targetPressure",
            "displayName": "Target pressure",
            "schema": "double",
            "writable": True,
        },
        {"@type": ["Property", "Cloud", "StringValue"], "name": "site", "displayName": "Site", "schema": "string"},
        {"@type": "Command", "name": "flush", "displayName": "Flush"},
    ]
    model = {"@id": MODEL, "@type": "Interface", "displayName": "Pump", "contents": contents}
    template = {
        "@type": ["ModelDefinition", "DeviceModel"],
        "@context": ["dtmi:iotcentral:context;2", "dtmi:dtdl:context;2"],
        "displayName": "Pump",
        "capabilityModel": model,
    }
    _api(hub, "PUT", f"deviceTemplates/{TEMPLATE}", template)
    for place in ("Ghent", "Antwerp"):
        _api(hub, "PUT", f"organizations/{place.lower()}", {"displayName": place})


def _supply_chain(hub: Hub, folder: Path, pumps: Sequence[str]) -> None:
    hub.moorage("cert", "root", "company-x", "--lifetime", "3650d", cwd=folder)
    hub.moorage("cert", "intermediate", "factory-y", "--issuer", "company-x", "--lifetime", "700d", cwd=folder)
    hub.moorage("cert", "intermediate", "technician-z", "--issuer", "factory-y", "--lifetime", "200d", cwd=folder)
    for number, name in enumerate(pumps):
        lifetime = f"{20 + 22 * number}d"
        hub.moorage("cert", "device", name, "--issuer", "technician-z", "--lifetime", lifetime, cwd=folder)
    group = {"displayName": "Pumps", "type": "iot", "attestation": {"type": "x509"}}
    _api(hub, "PUT", "enrollmentGroups/pumps", group)
    root = (folder / "companyX_cert.pem").read_text()
    _api(hub, "PUT", "enrollmentGroups/pumps/certificates/primary", {"certificate": root, "verified": True})


def _dashboard(hub: Hub) -> None:
    group = "all-plant-pumpTemplate-1"

    def tile(title: str, place: tuple[int, int, int, int], **shown: Any) -> dict[str, Any]:
        x, y, width, height = place
        at = {"x": x, "y": y, "width": width, "height": height}
        return {"displayName": title, "configuration": {"group": group, **shown}, **at}

    def average(*names: str) -> list[dict[str, str]]:
        return [{"capability": name, "aggregateFunction": "avg"} for name in names]

    day = {"duration": "P1D", "resolution": "PT15M"}
    tiles = [
        tile("Temperature", (0, 0, 6, 4), type="lineChart", capabilities=average("temperature"), queryRange=day),
        tile("Pressure", (6, 0, 6, 4), type="lineChart", capabilities=average("pressure"), queryRange=day),
        tile("Pumps", (0, 4, 3, 2), type="deviceCount"),
        tile("Temperature today", (3, 4, 3, 2), type="kpi", capabilities=average("temperature")),
        tile("Pressure today", (6, 4, 3, 2), type="kpi", capabilities=average("pressure")),
        tile("Speed today", (9, 4, 3, 2), type="kpi", capabilities=average("speed")),
    ]
    body = {"displayName": "Pumps", "tiles": tiles}
    hub.request("PUT", "/api/dashboards/pumps", body=body, query={"api-version": "2022-10-31-preview"})


def _stem(name: str) -> str:
    return name.replace("-", "")


def _x509(folder: Path, name: str) -> Any:
    chain, key = folder / f"{_stem(name)}_fullchain.pem", folder / f"{_stem(name)}_key.pem"
    return X509(cert_file=str(chain), key_file=str(key))


def _provision(bench: Bench, folder: Path, name: str) -> None:
    provisioning = bench.provisioning(name, x509=_x509(folder, name))
    provisioning.provisioning_payload = {"modelId": MODEL}
    assert provisioning.register().status == "assigned", name


def knock(hub: Hub, folder: Path, name: str) -> None:
    """A pump that asks to be let in while nobody is let in by itself: it waits for somebody to approve it."""
    hub.moorage("cert", "device", name, "--issuer", "technician-z", cwd=folder)
    with suppress(ClientError):
        _provision(Bench(hub, folder), folder, name)
    assert hub.attempts(device=name)[0]["reason"] == "registration.waiting"


def _refusal(bench: Bench, folder: Path) -> None:
    """A ninth pump has the certificate, and forgot to send those between it and the root."""
    bench.hub.moorage("cert", "device", "pump-09", "--issuer", "technician-z", cwd=folder)
    leaf = X509(cert_file=str(folder / "pump09_cert.pem"), key_file=str(folder / "pump09_key.pem"))
    with suppress(ClientError):
        bench.provisioning("pump-09", x509=leaf).register()
    assert not bench.hub.attempts(device="pump-09")[0]["accepted"]


class _Durable:
    """Waits for the batch that gathers."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def log_durable(self, batch: int) -> None:
        self.event.set()

    def log_failed(self, refusal: Unavailable) -> None:
        raise refusal

    def log_high_water(self) -> None:
        """Far from it: a day of eight pumps has some megabytes."""

    def log_low_water(self) -> None:
        """As above."""


async def _write_day(folder: Path, generations: dict[str, str]) -> None:
    log, durable = SegmentLog.open(folder, LogSettings()), _Durable()
    log.start(durable)
    chance = random.Random(7)
    began = time.time() - _DAY_S
    sources = {
        name: SourceHeader("hub", "Telemetry", name, None, generation, _METHOD, MODEL).encode()
        for name, generation in generations.items()
    }
    for step in range(_DAY_S // _EVERY_S):
        at = began + step * _EVERY_S
        for number, (name, source) in enumerate(sources.items()):
            body = json.dumps(readings(number, at, chance)).encode()
            bag = b"%24.ct=application%2Fjson&%24.ce=utf-8"
            log.append(source, partition_of(name, 4), bag, body, int(at * 1000))
        if step % 100 == 0:
            durable.event.clear()
            await durable.event.wait()
    await log.close()


def readings(number: int, at: float, chance: random.Random) -> dict[str, float]:
    """Warm by day, under pressure while people work, each pump a little different."""
    hour = (at / 3600) % 24
    day = math.sin((hour - 8) / 24 * 2 * math.pi)
    load = 1.0 if 6 <= hour < 22 else 0.55
    return {
        "temperature": round(38 + 6 * day + number + chance.gauss(0, 0.4), 1),
        "pressure": round(load * (5.2 + 0.15 * number) + chance.gauss(0, 0.06), 2),
        "speed": round(load * (1420 + 20 * number) + chance.gauss(0, 9)),
    }


def _flush(device: Any) -> Callable[[Any], None]:
    """The pump's one command, which it always carries out."""
    return lambda asked: device.send_method_response(
        MethodResponse.create_from_method_request(asked, 200, {"done": True})
    )


@contextmanager
def running_pumps(hub: Hub, folder: Path, count: int) -> Iterator[None]:
    """Some of them connected, having sent what they measure now."""
    bench, chance = Bench(hub, folder), random.Random(11)
    with ExitStack() as stack:
        for number, name in enumerate(PUMPS[:count]):
            device = stack.enter_context(client(bench.by_certificate(name, _x509(folder, name))))
            device.on_method_request_received = _flush(device)
            device.patch_twin_reported_properties({"serialNumber": f"CX-{4100 + number}"})
            message = Message(json.dumps(readings(number, time.time(), chance)))
            message.content_type, message.content_encoding = "application/json", "utf-8"
            device.send_message(message)
        yield
