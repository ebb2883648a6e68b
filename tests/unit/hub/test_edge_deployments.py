"""What edge devices run: bases, layers on top of them, and deployments to one device by hand."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.adapters.bus import LocalBus
from moorage.adapters.sqlite import SqliteStore
from moorage.errors import Invalid, NotFound, Refusal, TooLarge
from moorage.hub.configuration_model import Configuration
from moorage.hub.configurations import ConfigurationService
from moorage.hub.edge import decide_deployment
from moorage.hub.merging import apply_settings
from moorage.ids import DEFAULT_HUB
from tests.unit.hub.samples import configuration, named
from tests.unit.hub.test_applier import Fleet


@pytest.fixture
async def fleet(store: SqliteStore, bus: LocalBus) -> Fleet:
    return Fleet(store, bus)


def base(name: str, *, priority: int = 0, modules: dict[str, Any] | None = None, **more: Any) -> Configuration:
    """Runs `modules` (id to desired properties), each told by `by` who brought it."""
    modules = {"camera": {"by": name}} if modules is None else modules
    content = {
        "$edgeAgent": {"properties.desired": {"by": name, "modules": {module: {"image": name} for module in modules}}},
        "$edgeHub": {"properties.desired": {"routes": {"all": name}}},
        **{module: {"properties.desired": desired} for module, desired in modules.items()},
    }
    return configuration(name, {"modulesContent": content}, priority=priority, **more)


def layer(name: str, sections: dict[str, dict[str, Any]], *, priority: int = 10) -> Configuration:
    content = {
        module: {f"properties.desired{path}": value for path, value in settings.items()}
        for module, settings in sections.items()
    }
    return configuration(name, {"modulesContent": content}, priority=priority)


def running(fleet: Fleet, device: str) -> set[str]:
    return {
        str(module.name.module_id)
        for module in fleet.store.read().identities.list_modules(DEFAULT_HUB, named(device).device_id)
    } - {"$edgeAgent", "$edgeHub"}


# -- decisions ---------------------------------------------------------------------------------------------------------

ROUTE = layer("route", {"$edgeHub": {".routes.more": "x"}})
EXTRA = layer("extra", {"$edgeAgent": {".modules.extra": {"image": "e"}}, "extra": {"": {"rate": 1}}}, priority=20)
LOW = layer("low", {"$edgeHub": {".routes.low": "x"}}, priority=1)


@pytest.mark.parametrize(
    ("targeted", "applied", "routes"),
    [
        ([base("b", priority=5)], {"b"}, {"all": "b"}),
        ([base("b", priority=5), ROUTE], {"b", "route"}, {"all": "b", "more": "x"}),
        ([base("b", priority=5), ROUTE, LOW], {"b", "route"}, {"all": "b", "more": "x"}),
        ([base("b", priority=1), base("c", priority=5), LOW, EXTRA], {"c", "extra"}, {"all": "c"}),
        (
            [base("b"), ROUTE, layer("more", {"$edgeHub": {".routes.more": "y"}}, priority=11)],
            {"b", "more"},
            {"all": "b", "more": "y"},
        ),
        ([base("b", priority=30), ROUTE, EXTRA], {"b"}, {"all": "b"}),
    ],
)
def test_layers_go_on_top_of_the_highest_base(
    targeted: list[Configuration], applied: set[str], routes: dict[str, str]
) -> None:
    deployment = decide_deployment(targeted)
    assert deployment.applied == applied
    assert apply_settings({}, deployment.settings)["$edgeHub"]["routes"] == routes


@pytest.mark.parametrize("targeted", [[], [ROUTE, EXTRA]])
def test_without_a_base_nothing_is_applied(targeted: list[Configuration]) -> None:
    deployment = decide_deployment(targeted)
    assert (deployment.base, deployment.settings, deployment.applied) == (None, (), frozenset())


# -- by configurations -------------------------------------------------------------------------------------------------


async def test_an_edge_device_gets_the_modules_of_its_deployment(fleet: Fleet) -> None:
    await fleet.create("edge", edge=True)
    await fleet.create("plain")
    await fleet.put(base("b"))
    await fleet.settle()
    assert running(fleet, "edge") == {"camera"}
    camera = fleet.store.read().identities.find(DEFAULT_HUB, named("edge/camera"))
    assert camera is not None and camera.managed_by == "IotEdge"
    assert fleet.desired("edge/camera") == {"by": "b"}
    assert fleet.desired("edge/$edgeHub") == {"routes": {"all": "b"}}
    for name in ("edge", "edge/$edgeAgent", "edge/camera"):
        assert fleet.statuses(name) == {"b": "Applied"}
    assert fleet.statuses("plain") == {}
    assert fleet.tally("b") == (1, 1)


async def test_a_higher_deployment_takes_over_and_gives_back(fleet: Fleet) -> None:
    await fleet.create("edge", edge=True)
    await fleet.create("edge/by-hand")
    await fleet.put(base("low", priority=1))
    await fleet.settle()
    await fleet.put(base("high", priority=2, modules={"printer": {}}))
    await fleet.settle()
    assert running(fleet, "edge") == {"by-hand", "printer"}
    assert fleet.statuses("edge") == {"low": "Targeted", "high": "Applied"}
    assert fleet.statuses("edge/$edgeAgent") == {"high": "Applied"}
    assert fleet.tally("low") == (1, 0)
    await fleet.delete("high")
    await fleet.settle()
    assert running(fleet, "edge") == {"by-hand", "camera"}
    assert fleet.desired("edge/$edgeAgent")["by"] == "low"


async def test_a_layer_comes_and_goes_with_its_module(fleet: Fleet) -> None:
    await fleet.create("edge", edge=True)
    await fleet.put(base("b"), ROUTE, EXTRA)
    await fleet.settle()
    assert running(fleet, "edge") == {"camera", "extra"}
    assert fleet.desired("edge/$edgeHub") == {"routes": {"all": "b", "more": "x"}}
    assert fleet.statuses("edge") == {"b": "Applied", "route": "Applied", "extra": "Applied"}
    for name in ("route", "extra"):
        await fleet.delete(name)
    await fleet.settle()
    assert running(fleet, "edge") == {"camera"}
    assert fleet.desired("edge/$edgeHub") == {"routes": {"all": "b"}}
    assert fleet.statuses("edge/$edgeAgent") == {"b": "Applied"}


async def test_without_any_base_left_the_device_keeps_what_it_has(fleet: Fleet) -> None:
    await fleet.create("edge", edge=True)
    await fleet.put(base("b"))
    await fleet.settle()
    await fleet.delete("b")
    await fleet.settle()
    assert running(fleet, "edge") == {"camera"}
    assert fleet.desired("edge/$edgeAgent")["by"] == "b"
    for name in ("edge", "edge/$edgeAgent", "edge/camera"):
        assert fleet.statuses(name) == {}
    await fleet.put(base("next", modules={}))
    await fleet.settle()
    assert running(fleet, "edge") == set()


async def test_a_change_of_a_deployed_module_by_hand_is_set_back(fleet: Fleet) -> None:
    await fleet.create("edge", edge=True)
    await fleet.put(base("b"))
    await fleet.settle()
    await fleet.set("edge/camera", desired={"by": "me", "more": 1})
    await fleet.settle()
    assert fleet.desired("edge/camera") == {"by": "b"}


async def test_a_deployed_module_that_is_deleted_comes_back_with_what_it_had(fleet: Fleet) -> None:
    await fleet.create("e", edge=True)
    await fleet.put(base("a"))
    await fleet.settle()
    await fleet.registry.delete(DEFAULT_HUB, named("e/camera"))
    await fleet.settle()
    assert fleet.desired("e/camera") == {"by": "a"}
    await fleet.registry.delete(DEFAULT_HUB, named("e/camera"))
    await fleet.create("e/camera")
    await fleet.settle()
    assert (fleet.desired("e/camera"), fleet.statuses("e/camera")) == ({"by": "a"}, {"a": "Applied"})


async def test_a_deployed_device_is_deleted_with_its_modules(fleet: Fleet) -> None:
    await fleet.create("e", edge=True)
    await fleet.put(base("a"))
    await fleet.settle()
    await fleet.registry.delete(DEFAULT_HUB, named("e"))
    await fleet.settle()
    assert (running(fleet, "e"), fleet.tally("a")) == (set(), (0, 0))


@pytest.mark.parametrize("condition", ["tags.hall = 1", "FROM devices WHERE tags.hall = 1 OR tags.hall = 2", "*"])
async def test_a_deployment_goes_to_edge_devices_that_its_condition_selects(fleet: Fleet, condition: str) -> None:
    await fleet.create("e", edge=True, tags={"hall": 1})
    await fleet.create("leaf", tags={"hall": 1})
    await fleet.put(base("a", condition=condition))
    await fleet.settle()
    assert (fleet.statuses("e"), fleet.statuses("leaf")) == ({"a": "Applied"}, {})


async def test_a_deployment_with_too_many_modules_leaves_the_device_alone(fleet: Fleet) -> None:
    await fleet.create("edge", edge=True)
    await fleet.put(base("b"))
    await fleet.settle()
    await fleet.put(base("huge", priority=1, modules={f"m{number}": {} for number in range(48)}))
    for number in range(3):
        await fleet.create(f"edge/mine-{number}")
    await fleet.settle()
    assert running(fleet, "edge") == {"camera", "mine-0", "mine-1", "mine-2"}
    assert fleet.statuses("edge") == {"b": "Targeted", "huge": "Targeted"}
    await fleet.delete("huge")
    await fleet.settle()
    assert fleet.statuses("edge") == {"b": "Applied"}


# -- by hand -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def service(fleet: Fleet) -> ConfigurationService:
    return ConfigurationService(fleet.store, NoQueries(), fleet.clock)


class NoQueries:
    """Port: `MetricQueries`, for a service that is asked for none."""

    def check(self, text: str) -> None:
        raise Invalid("query.syntax", "none is asked here")

    async def count(self, hub: str, text: str) -> int:
        raise Invalid("query.syntax", "none is asked here")


async def test_one_device_gets_exactly_the_modules_that_are_listed(fleet: Fleet, service: ConfigurationService) -> None:
    await fleet.create("edge", edge=True)
    for name in ("edge/old", "edge/kept"):
        await fleet.create(name)
        await fleet.set(name, desired={"was": 1}, tags={"t": 1})
    content = {**base("x", modules={"kept": {"is": 2}, "new": {}}).content, "deviceContent": None}
    listed = await service.deploy(DEFAULT_HUB, named("edge"), content)
    assert set(listed) == {"$edgeAgent", "$edgeHub", "kept", "new"}
    assert running(fleet, "edge") == {"kept", "new"}
    assert fleet.desired("edge/kept") == {"is": 2}
    assert fleet.twins.get(DEFAULT_HUB, named("edge/kept")).tags == {"t": 1}
    assert fleet.desired("edge/$edgeAgent")["modules"].keys() == {"kept", "new"}


@pytest.mark.parametrize("module", ["", "a/b", "x" * 129])
async def test_names_that_an_agents_twin_was_given_by_hand_are_modules_only_when_they_can_be(
    fleet: Fleet, service: ConfigurationService, module: str
) -> None:
    await fleet.create("e", edge=True)
    await fleet.set("e/$edgeAgent", desired={"modules": {module: {}}})
    with pytest.raises(Invalid) as refused:
        await service.deploy(DEFAULT_HUB, named("e"), {"modulesContent": {"$edgeAgent": {"properties.desired.x": 1}}})
    assert (refused.value.reason, running(fleet, "e")) == ("id.module", set())


async def test_sections_go_on_top_of_what_a_module_has(fleet: Fleet, service: ConfigurationService) -> None:
    await fleet.create("edge", edge=True)
    await fleet.set("edge/$edgeAgent", desired={"modules": {"camera": {"image": "c"}}})
    await fleet.set("edge/$edgeHub", desired={"routes": {"all": "x"}})
    content = {
        "modulesContent": {
            "$edgeHub": {"properties.desired.routes.more": "y"},
            "$edgeAgent": {"properties.desired.a": 1},
        },
        "deviceContent": {"properties.desired.site": "north"},
    }
    await service.deploy(DEFAULT_HUB, named("edge"), content)
    assert fleet.desired("edge/$edgeHub") == {"routes": {"all": "x", "more": "y"}}
    assert running(fleet, "edge") == {"camera"}
    assert fleet.desired("edge") == {"site": "north"}


MODULES = base("b").content
TOO_MANY: dict[str, Any] = {
    "modulesContent": {"$edgeAgent": {"properties.desired": {"modules": {f"m{number}": {} for number in range(49)}}}}
}


@pytest.mark.parametrize(
    ("device", "content", "kind", "reason"),
    [
        ("absent", MODULES, NotFound, "device.not_found"),
        ("plain", MODULES, Invalid, "edge.required"),
        ("edge", {}, Invalid, "configuration.content"),
        ("edge", {**MODULES, "moduleContent": {}}, Invalid, "configuration.content"),
        ("edge", {"modulesContent": {"a": 1}}, Invalid, "configuration.content"),
        ("full", TOO_MANY, TooLarge, "module.too_many"),
        ("plain", {**MODULES, "deviceContent": {"properties.desired.a": 1}}, Invalid, "edge.required"),
    ],
)
async def test_a_deployment_that_cannot_be_changes_nothing(
    fleet: Fleet, service: ConfigurationService, device: str, content: Any, kind: type[Refusal], reason: str
) -> None:
    await fleet.create("plain")
    for name in ("edge", "full"):
        await fleet.create(name, edge=True)
    with pytest.raises(kind) as refused:
        await service.deploy(DEFAULT_HUB, named(device), content)
    assert refused.value.reason == reason
    assert running(fleet, "edge") == set()
    assert fleet.desired("plain") == {}
