"""azure-iot-device over HTTPS, with azure-storage-blob as it is: files, small and large."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.iot.device.exceptions import ClientError
from azure.storage.blob import BlobClient

from tests import certs
from tests.compatibility import proves
from tests.e2e.sdk import Bench, pinned
from tests.hubs import HTTPS_PORT, Hub, may_listen, sdk_hub

device_does = partial(proves, "azure-iot-device", "devices and modules", transport="HTTPS")
storage_does = partial(proves, "azure-storage-blob", "BlobClient", transport="HTTPS")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """On the port that devices know."""
    if not may_listen(HTTPS_PORT):
        pytest.skip("the hub could not have port 443 here")
    with sdk_hub(tmp_path_factory.mktemp("upload") / "hub", https_port=HTTPS_PORT) as hub:
        yield hub


@pytest.fixture(scope="module")
def bench(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(hub, tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def device(bench: Bench) -> Iterator[Any]:
    """Let in by a thumbprint; what else lets a device in is in the matrix."""
    issued = certs.self_signed("pump")
    bench.create("pump", pinned(issued.certificate.sha1))
    device = bench.by_certificate("pump", bench.x509(issued))
    try:
        yield device
    finally:
        device.shutdown()


def blob_client(hub: Hub, info: dict[str, str], **options: Any) -> Any:
    url = f"https://{info['hostName']}/{info['containerName']}/{info['blobName']}{info['sasToken']}"
    return BlobClient.from_blob_url(url, connection_verify=str(hub.ca_bundle), retry_total=0, **options)


def kept(hub: Hub, tmp_path: Path, name: str) -> bytes:
    """What the hub has under a name, as an operator reads it."""
    hub.moorage("file", "get", name, "--out", str(tmp_path / "got"))
    return (tmp_path / "got").read_bytes()


@device_does("get_storage_info_for_blob", "notify_blob_upload_status")
@storage_does("from_blob_url", "upload_blob")
def test_a_device_uploads_a_file(hub: Hub, device: Any, tmp_path: Path) -> None:
    info = device.get_storage_info_for_blob("logs/today.txt")
    with blob_client(hub, info) as blob:
        answer = blob.upload_blob(b"one line\n", overwrite=True)
        assert answer["etag"] and answer["last_modified"]
    device.notify_blob_upload_status(info["correlationId"], True, 200, "OK")
    with pytest.raises(ClientError) as again:
        device.notify_blob_upload_status(info["correlationId"], True, 200, "OK")
    assert "HTTP operation returned: 400" in str(again.value.__cause__)
    assert kept(hub, tmp_path, "pump/logs/today.txt") == b"one line\n"
    (told,) = hub.ask("file", "notifications")
    assert (told["blobName"], told["blobSizeInBytes"]) == ("pump/logs/today.txt", 9)


@storage_does("upload_blob in blocks", "stage_block", "commit_block_list")
def test_a_large_file_goes_in_blocks(hub: Hub, device: Any, tmp_path: Path) -> None:
    body = os.urandom(9 * 1024 * 1024 + 7)
    info = device.get_storage_info_for_blob("large.bin")
    options = {"max_single_put_size": 1024 * 1024, "max_block_size": 1024 * 1024}
    with blob_client(hub, info, **options) as blob:
        blob.upload_blob(body, overwrite=True, max_concurrency=4, validate_content=True)
        assert kept(hub, tmp_path, "pump/large.bin") == body
        with pytest.raises(ResourceExistsError):
            blob.upload_blob(b"x", overwrite=False)
        blob.stage_block("a", b"1")
        blob.stage_block("b", b"2")
        blob.commit_block_list(["b", "a"])
        for forbidden in (blob.download_blob, blob.get_blob_properties, blob.delete_blob):
            with pytest.raises(HttpResponseError) as refused:
                forbidden()
            assert refused.value.status_code in (403, 405)
    device.notify_blob_upload_status(info["correlationId"], True, 200, "OK")
    assert kept(hub, tmp_path, "pump/large.bin") == b"21"
    assert [told["blobSizeInBytes"] for told in hub.ask("file", "notifications")] == [2]
