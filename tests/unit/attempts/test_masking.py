"""What stands where a name belongs and is a secret is not kept."""

from __future__ import annotations

import pytest

from moorage.attempts.masking import masked, without_secrets
from moorage.attempts.model import Attempt
from moorage.errors import Check
from moorage.ids import DEFAULT_HUB
from tests.certs import NOW


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("HostName=h;DeviceId=d;SharedAccessKey=QUJD+/=", "HostName=h;DeviceId=d;SharedAccessKey=****"),
        ("HostName=h;SharedAccessKey=QUJD=;DeviceId=d", "HostName=h;SharedAccessKey=****;DeviceId=d"),
        ("'sharedaccesskey=QUJD' is no id", "'sharedaccesskey=****' is no id"),
        ("SharedAccessSignature sr=h&sig=QUJD%3D&se=1", "SharedAccessSignature sr=h&sig=****&se=1"),
        ("sr%3Dh%26sig%3DQUJD", "sr%3Dh%26sig%3D****"),
        ("sig%253DQUJD x", "sig%253D**** x"),
        ("SharedAccessKeyName=iothubowner", "SharedAccessKeyName=iothubowner"),
        ("design=7&config=8", "design=7&config=8"),
        ("pump-01", "pump-01"),
    ],
)
def test_keys_and_signatures_become_stars(text: str, kept: str) -> None:
    assert masked(text) == kept


def test_an_attempt_loses_them_everywhere() -> None:
    text = "SharedAccessKey=QUJD"
    attempt = Attempt(
        NOW,
        DEFAULT_HUB,
        "hub.mqtt",
        "A" * 32,
        "127.0.0.1:1",
        text,
        reason="id.device",
        message=text,
        fix=text,
        checks=(Check("id.device", False, text),),
        client=text,
    )
    kept = without_secrets(attempt)
    assert "QUJD" not in repr(kept)
    assert (kept.tracking_id, kept.checks[0].name, kept.claimed_id) == ("A" * 32, "id.device", "SharedAccessKey=****")


def test_an_attempt_without_any_stays_itself() -> None:
    attempt = Attempt(NOW, DEFAULT_HUB, "hub.mqtt", "A" * 32, "127.0.0.1:1", "pump-01")
    assert without_secrets(attempt) is attempt
