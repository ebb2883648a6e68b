"""Identity confusion: a credential that is good, for somebody else."""

from __future__ import annotations

from moorage.identities.model import ByAuthority, BySharedKey, NoCredential
from tests import certs
from tests.attacks.scene import Scene
from tests.attacks.table import Chapter
from tests.servers.world import KEY, OTHER_KEY

__all__ = ["CHAPTER"]

CHAPTER = attack = Chapter("Identity confusion", is_about_credentials=True)


@attack(
    1,
    "A device of the fleet, with its own good certificate, speaks another device's name.",
    hub="identity.mismatch",
    dps="registration.id_mismatch",
)
async def _another_name(scene: Scene) -> str:
    await scene.by_authority()
    return await scene.show(issued=await scene.by_authority(f"{scene.name}-thief"))


@attack(2, "Its own client id, and another device's name in the user name.", hub="login.client_id")
async def _own_client_id(scene: Scene) -> str:
    await scene.by_authority()
    thief = await scene.by_authority(f"{scene.name}-thief")
    return await scene.show(issued=thief, client_id=f"{scene.name}-thief")


@attack(3, "Its own name in the user name, and another device's client id.", hub="login.client_id")
async def _own_user_name(scene: Scene) -> str:
    await scene.by_authority()
    own = f"{scene.name}-thief"
    thief = await scene.by_authority(own)
    return await scene.show(issued=thief, user_name=f"localhost/{own}/?api-version=2021-04-12")


@attack(
    4,
    "A certificate whose name is the other device's in upper case.",
    hub="identity.mismatch",
)
async def _other_case(scene: Scene) -> str:
    await scene.by_authority()
    return await scene.show(issued=certs.device(scene.ground.plant, scene.name.upper()))


@attack(5, "A certificate for a device, and its name in upper case in CONNECT.", hub="identity.unknown")
async def _asks_in_other_case(scene: Scene) -> str:
    good = await scene.by_authority()
    return await scene.show(scene.name.upper(), issued=good)


@attack(6, "A device's certificate for one of its own modules.", hub="identity.mismatch")
async def _device_as_module(scene: Scene) -> str:
    good = await scene.by_authority()
    await scene.world.create(f"{scene.name}/camera", ByAuthority())
    return await scene.show(f"{scene.name}/camera", issued=good)


@attack(7, "A module's certificate for the device that it is of.", hub="identity.mismatch")
async def _module_as_device(scene: Scene) -> str:
    await scene.by_authority()
    await scene.world.create(f"{scene.name}/camera", ByAuthority())
    return await scene.show(issued=certs.device(scene.ground.plant, f"{scene.name}/camera"))


@attack(8, "A module's certificate for another module of its device.", hub="identity.mismatch")
async def _module_as_module(scene: Scene) -> str:
    await scene.by_authority()
    await scene.world.create(f"{scene.name}/camera", ByAuthority())
    return await scene.show(f"{scene.name}/camera", issued=certs.device(scene.ground.plant, f"{scene.name}/lidar"))


@attack(9, "A good device asks for another hub on this address.", hub="login.host")
async def _another_hub(scene: Scene) -> str:
    good = await scene.by_authority()
    return await scene.show(issued=good, user_name=f"other.example/{scene.name}/?api-version=2021-04-12")


@attack(
    10,
    "No certificate and no token, for a device that authenticates by X.509.",
    hub="identity.certificate_missing",
    dps="credential.missing",
)
async def _nothing(scene: Scene) -> str:
    await scene.by_authority()
    return await scene.show()


@attack(
    11,
    "A certificate with the device's name that its CA did sign, for a device that authenticates by key.",
    hub="token.missing",
    dps="attestation.kind",
)
async def _certificate_for_key(scene: Scene) -> str:
    await scene.ground.with_plant()
    await scene.by_key()
    return await scene.show(issued=certs.device(scene.ground.plant, scene.name))


@attack(
    12,
    "A token for a device that authenticates by its pinned certificate.",
    hub="identity.certificate_missing",
    dps="attestation.kind",
)
async def _token_for_certificate(scene: Scene) -> str:
    await scene.pinned()
    return await scene.show(token=scene.token())


@attack(
    13,
    "Another device's certificate, and with it a token that would be good if the device had keys.",
    hub="identity.thumbprint",
    dps="attestation.thumbprint",
)
async def _both(scene: Scene) -> str:
    await scene.pinned()
    return await scene.show(issued=certs.self_signed(f"{scene.name}-thief"), token=scene.token())


@attack(
    14,
    "The good certificate of a device that was disabled.",
    hub="identity.disabled",
    dps_mqtt=("200 disabled", "enrollment.disabled"),
    dps_https="enrollment.disabled",
    dps_amqp="enrollment.disabled",
    no_twin="what is asked is exactly what an honest device would ask; A-001 lets one in",
)
async def _disabled(scene: Scene) -> str:
    good = certs.self_signed(scene.name)
    if scene.is_hub:
        await scene.pinned(issued=good)
        await scene.world.set_status(scene.name, "disabled")
    else:
        await scene.enroll_pinned(scene.name, good, provisioningStatus="disabled")
    scene.honest = None
    return await scene.show(issued=good)


@attack(
    15,
    "The good certificate of a device that was deleted.",
    hub="identity.unknown",
    dps="enrollment.unknown",
    no_twin="the device is gone",
)
async def _deleted(scene: Scene) -> str:
    good = await scene.pinned()
    scene.honest = None
    if scene.is_hub:
        await scene.world.delete(scene.name)
    else:
        await scene.ground.arrange("DELETE", f"/enrollments/{scene.name}?api-version=2021-10-01")
    return await scene.show(issued=good)


@attack(
    16,
    "A good certificate for a device that is registered with authentication type none.",
    hub="identity.no_credential",
    no_twin="nothing lets in a device of type none",
)
async def _no_credential(scene: Scene) -> str:
    await scene.ground.with_plant()
    await scene.world.create(scene.name, NoCredential())
    return await scene.show(issued=certs.device(scene.ground.plant, scene.name))


@attack(17, "A good certificate and an empty user name.", hub="login.user_name")
async def _empty_user_name(scene: Scene) -> str:
    good = await scene.by_authority()
    return await scene.show(issued=good, user_name="")


@attack(18, "A user name that goes up from the own name to another's.", hub="login.user_name")
async def _path_in_user_name(scene: Scene) -> str:
    await scene.by_authority()
    own = f"{scene.name}-thief"
    thief = await scene.by_authority(own)
    return await scene.show(issued=thief, client_id=own, user_name=f"localhost/{own}/../{scene.name}/?api-version=1")


@attack(
    19,
    "A module's own key, while its device is disabled.",
    hub="identity.disabled",
    no_twin="the device is disabled, and its modules with it",
)
async def _module_of_disabled(scene: Scene) -> str:
    await scene.by_key()
    scene.honest = None
    module = f"{scene.name}/camera"
    await scene.world.create(module, BySharedKey(KEY, OTHER_KEY))
    await scene.world.set_status(scene.name, "disabled")
    return await scene.show(module, token=scene.token(module))


@attack(20, "A user name whose percent-encoded slash would name another device's module.", hub="login.client_id")
async def _encoded_slash(scene: Scene) -> str:
    good = await scene.by_authority()
    return await scene.show(
        issued=good, client_id=f"{scene.name}/camera", user_name=f"localhost/{scene.name}%2Fcamera/?api-version=1"
    )


@attack(
    21,
    "The own certificate first, and the other device's, which anybody may have seen, behind it.",
    hub="identity.mismatch",
    dps="registration.id_mismatch",
)
async def _second_in_line(scene: Scene) -> str:
    victim = await scene.by_authority()
    thief = await scene.by_authority(f"{scene.name}-thief")
    both = certs.Issued(thief.certificate, thief.key, (victim.certificate, *victim.signers))
    return await scene.show(issued=both, sends=2)
