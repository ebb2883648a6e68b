"""Races: an operator shuts somebody out in the very moment in which they connect.

Several rounds, in which the change comes earlier and later. Whatever CONNECT was answered, nobody is connected in the
end, and whoever comes again is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from moorage.identities.model import ByAuthority, BySharedKey, ByThumbprint
from moorage.ids import DEFAULT_HUB, CAName, Thumbprint
from tests import certs
from tests.attacks.scene import DPS_API, Scene
from tests.attacks.table import LET_IN, Chapter
from tests.attacks.tokens import FOREIGN
from tests.servers.clients import CUT_S
from tests.servers.world import eventually, named

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Races")

_ROUNDS = 6
_STEP_S = 0.0015
_NO_TWIN = "whoever is shut out stays out; the first rounds of A-705 let devices in"


async def _race(
    scene: Scene,
    prepare: Callable[[str], Awaitable[Callable[[], Awaitable[str]]]],
    shut_out: Callable[[str], Awaitable[object]],
) -> str:
    """`prepare` arranges a device and gives what it does; the answer after everything."""
    answer = ""
    for turn in range(_ROUNDS):
        name = f"{scene.name}-{turn}"
        connect = await prepare(name)

        async def later(name: str = name, turn: int = turn) -> None:
            await asyncio.sleep(turn * _STEP_S)
            await shut_out(name)

        await asyncio.gather(connect(), later())
        await eventually(lambda name=name: not _is_connected(scene, name), within_s=CUT_S)  # type: ignore[misc]  # a lambda with a default has no type
        answer = await connect()
        assert not _is_connected(scene, name)
    return answer


def _is_connected(scene: Scene, name: str) -> bool:
    return scene.world.app.live.find(DEFAULT_HUB, named(name)) is not None


@attack(
    700,
    "CONNECT while the device is disabled.",
    hub="identity.disabled",
    hub_amqp="identity.disabled",
    no_twin=_NO_TWIN,
)
async def _disable(scene: Scene) -> str:
    async def prepare(name: str) -> Callable[[], Awaitable[str]]:
        issued = certs.self_signed(name)
        await scene.pinned(name, issued)
        return lambda: scene.show(name, issued=issued)

    return await _race(scene, prepare, lambda name: scene.world.set_status(name, "disabled"))


@attack(
    701, "CONNECT while the device is deleted.", hub="identity.unknown", hub_amqp="identity.unknown", no_twin=_NO_TWIN
)
async def _delete(scene: Scene) -> str:
    async def prepare(name: str) -> Callable[[], Awaitable[str]]:
        issued = certs.self_signed(name)
        await scene.pinned(name, issued)
        return lambda: scene.show(name, issued=issued)

    return await _race(scene, prepare, scene.world.delete)


@attack(
    702,
    "CONNECT while the CA of the certificate is removed.",
    hub="chain.incomplete",
    hub_amqp="chain.incomplete",
    no_twin=_NO_TWIN,
)
async def _remove_ca(scene: Scene) -> str:
    async def prepare(name: str) -> Callable[[], Awaitable[str]]:
        ca = certs.root(f"Raced {name}")
        await scene.world.upload(ca, name)
        await scene.world.create(name, ByAuthority())
        issued = certs.device(ca, name)
        return lambda: scene.show(name, issued=issued)

    return await _race(
        scene,
        prepare,
        lambda name: scene.world.certificates.delete(DEFAULT_HUB, "hub", CAName(name), by="tests", if_match=None),
    )


@attack(
    703,
    "CONNECT while the pinned certificate is replaced by another.",
    hub="identity.thumbprint",
    hub_amqp="identity.thumbprint",
    no_twin="a roll cuts nobody: the session that was let in before it stands until it comes again",
)
async def _replace(scene: Scene) -> str:
    issued = certs.self_signed(scene.name)
    await scene.pinned(issued=issued)
    scene.honest = None
    new = ByThumbprint(Thumbprint(certs.self_signed(scene.name, label="new").certificate.sha256), None)
    await asyncio.gather(scene.show(issued=issued), scene.world.update(scene.name, authentication=new))
    return await scene.show(issued=issued)


@attack(
    704,
    "CONNECT while the device is given over to a CA.",
    hub="chain.incomplete",
    hub_amqp="chain.incomplete",
    no_twin=_NO_TWIN,
)
async def _other_kind(scene: Scene) -> str:
    async def prepare(name: str) -> Callable[[], Awaitable[str]]:
        issued = certs.device(certs.root(f"Raced {name}"), name)
        await scene.pinned(name, issued)
        return lambda: scene.show(name, issued=issued)

    return await _race(scene, prepare, lambda name: scene.world.update(name, authentication=ByAuthority()))


@attack(
    705,
    "CONNECT while tokens of devices are switched off.",
    hub="sas.disabled_for_devices",
    hub_amqp="sas.disabled_for_devices",
    own_hub={},
)
async def _switch(scene: Scene) -> str:
    async def prepare(name: str) -> Callable[[], Awaitable[str]]:
        await scene.world.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": False})
        await scene.by_key(name)
        assert await scene.show(name, token=scene.token(name)) == LET_IN[scene.door]
        return lambda: scene.show(name, token=scene.token(name))

    answer = await _race(
        scene, prepare, lambda _name: scene.world.policies.set_switches(DEFAULT_HUB, {"disable_device_sas": True})
    )

    async def honest() -> str:
        return await (await prepare(scene.name))()

    scene.honest = honest
    return answer


@attack(
    706,
    "A device registers while its enrollment is deleted.",
    dps="enrollment.unknown",
    no_twin=_NO_TWIN,
)
async def _unenroll(scene: Scene) -> str:
    async def prepare(name: str) -> Callable[[], Awaitable[str]]:
        issued = certs.self_signed(name)
        await scene.pinned(name, issued)
        return lambda: scene.show(name, issued=issued)

    return await _race(scene, prepare, lambda name: scene.ground.arrange("DELETE", f"/enrollments/{name}?{DPS_API}"))


@attack(
    707,
    "CONNECT while both keys are replaced by others.",
    hub="token.signature",
    hub_amqp="token.signature",
    no_twin="a roll cuts nobody: the session that was let in before it stands until it comes again",
)
async def _other_keys(scene: Scene) -> str:
    await scene.by_key()
    scene.honest = None
    token = scene.token()
    new = BySharedKey(FOREIGN, FOREIGN)
    await asyncio.gather(scene.show(token=token), scene.world.update(scene.name, authentication=new))
    return await scene.show(token=token)
