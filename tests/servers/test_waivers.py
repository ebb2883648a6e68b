"""A waiver that is taken back cuts who came in by it, and nobody else."""

from __future__ import annotations

from moorage.certificates.waivers import WaiverService
from moorage.identities.model import ByThumbprint
from moorage.ids import DEFAULT_HUB, Thumbprint
from moorage.protocols.mqtt.packets import PingReq, PingResp
from tests import certs
from tests.servers.clients import CUT_S, Client
from tests.servers.world import World


async def is_alive(client: Client) -> bool:
    client.say(PingReq())
    return await client.next() == PingResp()


async def test_taking_a_waiver_back_cuts_who_came_in_by_it_and_giving_one_cuts_nobody(world: World) -> None:
    waivers = WaiverService(world.app.store)
    key = certs.weak_rsa_key()
    weak = certs.Issued(certs.odd("weak", key=key), key)
    await world.create("weak", ByThumbprint(Thumbprint(weak.certificate.sha256), None))
    strong = await world.connect("strong", await world.create_pinned("strong"))
    await world.create("keyed")
    keyed = await world.connect("keyed")
    await waivers.change(DEFAULT_HUB, {"rsa-1024": True, "sha1-signature": True}, by="tests")
    old = await world.connect("weak", weak)
    await waivers.change(DEFAULT_HUB, {"sha1-signature": False}, by="tests")
    assert await is_alive(old)
    await waivers.change(DEFAULT_HUB, {"rsa-1024": False}, by="tests")
    assert await old.rest(CUT_S) == []
    assert await is_alive(strong) and await is_alive(keyed)
