"""What a hub is when nobody has said anything (decisions T13)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from moorage.cli.up import _masked, banner
from moorage.hub_info import HUB_INFO
from moorage.identities.model import BySharedKey
from moorage.ids import DEFAULT_HUB
from tests.servers.world import KEY, OTHER_KEY, World


def files(folder: Path) -> Iterator[Path]:
    yield folder
    for path in folder.rglob("*"):
        if not path.is_socket():
            yield path


async def test_every_folder_is_for_the_owner_alone_and_so_is_every_file_that_is_not_for_clients(world: World) -> None:
    await world.create("pump-01")
    data = world.app.config.data
    public = {world.app.info().ca_bundle}
    modes = {path: path.stat().st_mode & 0o777 for path in files(data)}
    assert len(modes) > 8
    wrong = {
        str(path.relative_to(data)): oct(mode)
        for path, mode in modes.items()
        if path not in public and mode != (0o700 if path.is_dir() else 0o600)
    }
    assert wrong == {}


async def test_keys_of_devices_and_policies_are_nowhere_in_clear(world: World) -> None:
    await world.create("pump-01", BySharedKey(KEY, OTHER_KEY))
    policy = world.policies.get(DEFAULT_HUB, "hub", "iothubowner")
    info = world.app.info()
    shown_to_the_owner = {world.app.config.data / HUB_INFO}
    secrets = [key.reveal().encode() for key in (KEY, OTHER_KEY, policy.primary, policy.secondary)]
    found = [
        (path.name, index)
        for path in files(world.app.config.data)
        if path.is_file() and path not in shown_to_the_owner
        for index, secret in enumerate(secrets)
        if secret in path.read_bytes()
    ]
    assert found == []
    told = banner(info) + json.dumps(_masked(info))
    assert info.hub_key.reveal() not in told and info.dps_key.reveal() not in told
    assert info.hub_key == policy.primary


async def test_the_hubs_own_ca_may_vouch_for_its_names_alone(world: World) -> None:
    (ca,) = x509.load_pem_x509_certificates(world.app.info().ca_bundle.read_bytes())
    found = ca.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = {str(subtree.value) for subtree in found.value.permitted_subtrees or ()}
    assert permitted == {"localhost", "127.0.0.1/32", "::1/128"}
