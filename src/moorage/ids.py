"""Names, parsed once and trusted after: device, module, registration, enrollment and CA names, thumbprints, etags.

`parse_x` takes text from outside and raises `Invalid`; the type it returns is the proof that it was checked.
"""

from __future__ import annotations

import base64
import os
import re
from typing import NamedTuple, NewType

from moorage.errors import Invalid, PreconditionFailed

__all__ = [
    "check_etag",
    "DEFAULT_HUB",
    "CAName",
    "DeviceId",
    "ETag",
    "EnrollmentGroupId",
    "HubId",
    "IdScope",
    "IdentityName",
    "ModuleId",
    "RegistrationId",
    "Secret",
    "Thumbprint",
    "new_tracking_id",
    "parse_ca_name",
    "parse_device_id",
    "parse_enrollment_group_id",
    "parse_etag",
    "parse_module_id",
    "parse_registration_id",
    "parse_thumbprint",
    "version_etag",
]

HubId = NewType("HubId", str)
DeviceId = NewType("DeviceId", str)
ModuleId = NewType("ModuleId", str)
RegistrationId = NewType("RegistrationId", str)
EnrollmentGroupId = NewType("EnrollmentGroupId", str)
CAName = NewType("CAName", str)
IdScope = NewType("IdScope", str)
Thumbprint = NewType("Thumbprint", str)
ETag = NewType("ETag", str)

DEFAULT_HUB = HubId("hub")

# contract/devices.md 9.2 and services.md 2.3: case-sensitive, 1..128, ASCII letters, digits and these.
_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
# contract/services.md P-8: letters, digits, - . _ : with the last character alphanumeric or a hyphen.
_REGISTRATION_ID = re.compile(r"[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9\-]")
# contract/services.md 5.2
_CA_NAME = re.compile(r"[A-Za-z0-9\-._]{1,64}")
_HEX = re.compile(r"[0-9A-Fa-f]*")


class IdentityName(NamedTuple):
    """A device, or with `module_id` one of its modules. `str()` is its MQTT client id: `d` or `d/m`."""

    device_id: DeviceId
    module_id: ModuleId | None = None

    def __str__(self) -> str:
        return self.device_id if self.module_id is None else f"{self.device_id}/{self.module_id}"


class Secret(str):
    """Text that must never reach a log line: prints as stars. Call `reveal()` where it is really needed."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('********')"

    def __str__(self) -> str:
        return "********"

    def __format__(self, spec: str) -> str:
        return format("********", spec)

    def reveal(self) -> str:
        return str.__str__(self)


def new_tracking_id() -> str:
    """Names one attempt or answer, in what the peer is told and in what is written down: 32 hex digits."""
    return os.urandom(16).hex().upper()


def parse_device_id(text: str) -> DeviceId:
    """Raises `Invalid` (`id.device`)."""
    return DeviceId(
        _matched(
            _DEVICE_ID, text, "id.device", "a device id", "1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ ; $ '"
        )
    )


def parse_module_id(text: str) -> ModuleId:
    """Raises `Invalid` (`id.module`)."""
    return ModuleId(
        _matched(
            _DEVICE_ID, text, "id.module", "a module id", "1 to 128 of A-Z a-z 0-9 - : . + % _ # * ? ! ( ) , = @ ; $ '"
        )
    )


def parse_registration_id(text: str) -> RegistrationId:
    """As typed: look-ups fold the case (decisions T3). Raises `Invalid` (`id.registration`)."""
    return RegistrationId(
        _matched(
            _REGISTRATION_ID,
            text,
            "id.registration",
            "a registration id",
            "1 to 128 letters, digits, - . _ : and ends in a letter, digit or hyphen",
        )
    )


def parse_enrollment_group_id(text: str) -> EnrollmentGroupId:
    """Raises `Invalid` (`id.enrollment_group`)."""
    return EnrollmentGroupId(
        _matched(
            _REGISTRATION_ID,
            text,
            "id.enrollment_group",
            "an enrollment group id",
            "1 to 128 letters, digits, - . _ : and ends in a letter, digit or hyphen",
        )
    )


def parse_ca_name(text: str) -> CAName:
    """Raises `Invalid` (`id.ca`)."""
    return CAName(_matched(_CA_NAME, text, "id.ca", "a CA certificate's name", "1 to 64 letters, digits, - . _"))


def parse_thumbprint(text: str) -> Thumbprint:
    """Upper-case hex: 40 digits are SHA-1, 64 SHA-256. Colons and spaces are taken out. Raises `Invalid`."""
    digits = text.replace(":", "").replace(" ", "").strip()
    if not _HEX.fullmatch(digits):
        raise Invalid("thumbprint.hex", f"a thumbprint is hexadecimal, this is not: {text[:80]!r}")
    if len(digits) not in (40, 64):
        raise Invalid("thumbprint.length", f"40 hex digits is SHA-1, 64 is SHA-256; this has {len(digits)}")
    return Thumbprint(digits.upper())


def parse_etag(header: str | None) -> ETag | None:
    """An If-Match header in every spelling clients use (contract/services.md R-6).

    None, nothing and `*` mean "any". `""` is an etag, and nothing has it: who holds an empty one has read nothing.
    """
    text = "" if header is None else header.strip().removeprefix("W/")
    if text in ("", "*", '"*"'):
        return None
    # Never empty, which would read as "any" to whoever writes `parse_etag(...) or ...`.
    return ETag(text.strip('"') or '""')


def version_etag(version: int) -> ETag:
    """The etag of what counts its versions: base64 of the decimal number (contract/services.md R-14)."""
    return ETag(base64.b64encode(str(version).encode()).decode())


def check_etag(named: str, held: str | None, current: str) -> None:
    """What a change was made from, None for whatever is there. Raises `PreconditionFailed` (`etag.stale`)."""
    if held is not None and held != current:
        raise PreconditionFailed(
            "etag.stale",
            f"{named} changed since you read it (you hold {held[:64]!r}, it is at {current!r})",
            fix="read it again and repeat the change",
        )


def _matched(pattern: re.Pattern[str], text: str, reason: str, what: str, rule: str) -> str:
    if not pattern.fullmatch(text):
        raise Invalid(reason, f"{text[:140]!r} is not {what}: it takes {rule}")
    return text
