"""The one table that turns a `Refusal` into each transport's answer.

A refusal is looked up by its reason, else by its class. The row says which error of IoT Hub it is (contract/services.md
2.12; the first three digits are the HTTP status), which of the provisioning service (devices.md 6.6), and which return
code a CONNECT gets (2.3: 5 for credentials, 3 for what passes; never 2 or 4, after which C devices stop trying). The
condition of AMQP follows from the hub's error.

To a peer whose credential was not accepted, "there is no such identity" and "you may not" are the same answer
(decisions T7): both are `Unauthenticated`, and every `Unauthenticated` is 401002. What the operator reads is not here:
`reasons_document` makes the page that lists every reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from moorage.dialects.reasons import REASONS
from moorage.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    Invalid,
    NotFound,
    PreconditionFailed,
    Refusal,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

__all__ = ["BY_CLASS", "BY_REASON", "WireError", "reasons_document", "wire_error"]

_PREFACE: Final = """\
# Reasons

Every "no" has a reason: a dotted word that never changes its meaning. `moorage explain` shows it with the values that
were compared and the next step; our own API and the header `moorage-reason` carry it; the metric of refused attempts is
labelled with it.

What the peer is told is the service's code, as Azure's clients know it: *Hub* in the service API and in answers over
MQTT, *AMQP* as the condition of a detach or rejection, *DPS* from the provisioning service, *CONNECT* as the return
code of MQTT 3.1.1. To a peer whose credential was
not accepted, "unknown" and "not allowed" look alike. Reasons without codes end a connection: MQTT 3.1.1 has no answer
for them. The reasons that only the command line gives have codes too, which are never sent.
"""

CONNECTION_UNAVAILABLE: Final = 3
CONNECTION_NOT_AUTHORIZED: Final = 5


# devices.md 4.5: the conditions by which SDKs tell errors of AMQP apart.
_CONDITIONS: Final = {
    400003: "amqp:not-allowed",
    404103: "amqp:not-allowed",
    405000: "amqp:not-allowed",
    409001: "com.microsoft:device-already-exists",
    409002: "amqp:link:stolen",
    412002: "com.microsoft:message-lock-lost",
}
_CONDITIONS_BY_STATUS: Final = {
    400: "com.microsoft:argument-error",
    401: "amqp:unauthorized-access",
    403: "amqp:resource-limit-exceeded",
    404: "amqp:not-found",
    409: "amqp:resource-locked",
    412: "com.microsoft:precondition-failed",
    413: "amqp:link:message-size-exceeded",
    429: "com.microsoft:device-container-throttled",
    504: "com.microsoft:timeout",
}


@dataclass(frozen=True, slots=True)
class WireError:
    """`code` and `name` are IoT Hub's, `dps_code` the provisioning service's, `return_code` MQTT 3.1.1's."""

    code: int
    name: str
    dps_code: int
    return_code: int = CONNECTION_NOT_AUTHORIZED

    @property
    def status(self) -> int:
        """HTTP status of the hub's answer, also the status in a twin answer's topic."""
        return self.code // 1000

    @property
    def condition(self) -> str:
        """AMQP's error condition, by the hub's code, so that all transports agree about what went wrong."""
        return _CONDITIONS.get(self.code) or _CONDITIONS_BY_STATUS.get(self.status, "amqp:internal-error")

    @property
    def dps_status(self) -> int:
        """HTTP status of the provisioning service's answer."""
        return self.dps_code // 1000


BY_CLASS: Final[dict[type[Refusal], WireError]] = {
    Invalid: WireError(400004, "ArgumentInvalid", 400004),
    Unauthenticated: WireError(401002, "IotHubUnauthorizedAccess", 401002),
    # Azure says 401, not 403, to a policy that lacks a right, and its clients are built on that.
    Forbidden: WireError(401002, "IotHubUnauthorizedAccess", 401002),
    NotFound: WireError(404001, "DeviceNotFound", 404201),
    Conflict: WireError(409001, "DeviceAlreadyExists", 409201),
    PreconditionFailed: WireError(412001, "PreconditionFailed", 412201),
    TooLarge: WireError(413001, "MessageTooLarge", 413001),
    Exhausted: WireError(429001, "ThrottlingException", 429001, CONNECTION_UNAVAILABLE),
    Unavailable: WireError(503001, "ServiceUnavailable", 503001, CONNECTION_UNAVAILABLE),
    # A refusal of no class of its own is a bad answer from the other side of a call.
    Refusal: WireError(502001, "BadGateway", 502001),
}

BY_REASON: Final[dict[str, WireError]] = {
    "allocation.no_hub": WireError(502001, "BadGateway", 400208),
    "allocation.webhook_answer": WireError(502001, "BadGateway", 400207),
    "allocation.webhook_failed": WireError(502001, "BadGateway", 400207),
    "allocation.webhook_hub": WireError(502001, "BadGateway", 400207),
    "linked_hub.refused": WireError(502001, "BadGateway", 400209),
    "registration.blocked": WireError(401002, "IotHubUnauthorizedAccess", 400209),
    "registration.number": WireError(401002, "IotHubUnauthorizedAccess", 400209),
    "registration.simulated": WireError(401002, "IotHubUnauthorizedAccess", 400209),
    "registration.waiting": WireError(401002, "IotHubUnauthorizedAccess", 400209),
    "job.exists": WireError(409000, "JobAlreadyExists", 409201),
    "job.finished": WireError(400003, "InvalidOperation", 400003),
    "job.too_many": WireError(429004, "ThrottlingMaxActiveJobCountExceeded", 429004, CONNECTION_UNAVAILABLE),
    "job.unknown": WireError(404002, "JobNotFound", 404002),
    "json.malformed": WireError(400006, "IotHubFormatError", 400006),
    "json.text": WireError(400006, "IotHubFormatError", 400006),
    "configuration.condition": WireError(400401, "InvalidConfigurationTargetCondition", 400401),
    "configuration.content": WireError(400402, "InvalidConfigurationContent", 400402),
    "configuration.exists": WireError(409401, "ConfigurationAlreadyExists", 409401),
    "configuration.immutable": WireError(400403, "CannotModifyImmutableConfigurationContent", 400403),
    "configuration.metric": WireError(400404, "InvalidConfigurationCustomMetricsQuery", 400404),
    "configuration.metrics": WireError(400404, "InvalidConfigurationCustomMetricsQuery", 400404),
    "configuration.metric_unknown": WireError(404301, "ConfigurationNotFound", 404301),
    "configuration.not_found": WireError(404301, "ConfigurationNotFound", 404301),
    "configuration.too_many": WireError(413101, "ConfigurationCountLimitExceeded", 413101),
    "digital_twin.json_patch": WireError(400505, "InvalidDigitalTwinJsonPatch", 400505),
    "digital_twin.patch": WireError(400507, "InvalidDigitalTwinPatch", 400507),
    "digital_twin.path": WireError(400508, "InvalidDigitalTwinPatchPath", 400508),
    "digital_twin.payload": WireError(400506, "InvalidDigitalTwinPayload", 400506),
    "device_scope.circle": WireError(400028, "InvalidDeviceScope", 400004),
    "device_scope.several": WireError(400028, "InvalidDeviceScope", 400004),
    "device_scope.unknown": WireError(400028, "InvalidDeviceScope", 400004),
    "feedback.lock_lost": WireError(412002, "DeviceMessageLockLost", 412201),
    "transfer.busy": WireError(403003, "JobQuotaExceeded", 403003, CONNECTION_UNAVAILABLE),
    "throttle.exceeded": WireError(429003, "ThrottlingBacklogTimeout", 429001, CONNECTION_UNAVAILABLE),
    "bulk.twice": WireError(400011, "DeviceDefinedMultipleTimes", 400004),
    "bulk.refused": WireError(400013, "BulkRegistryOperationFailure", 400004),
    "bulk.size": WireError(400013, "BulkRegistryOperationFailure", 400004),
    "key.which": WireError(400035, "InvalidPolicyKey", 400004),
    "key.devices": WireError(400036, "BulkRegenerateDeviceKeyOperationFailure", 400004),
    "token.expired": WireError(401003, "IotHubUnauthorized", 401002),
    "ca.exists": WireError(409001, "CertificateAlreadyExists", 409201),
    "operation.not_served": WireError(403010, "OperationNotAvailableInCurrentTier", 403010),
    "resource.fixed": WireError(400004, "PropertyChangeNotAllowed", 400004),
    "resource.not_deleted_here": WireError(409000, "CannotDeleteResource", 409000),
    "resource.not_made_here": WireError(409000, "OperationNotAllowed", 409000),
    "resource.unknown": WireError(404000, "ResourceNotFound", 404000),
    "policy.not_found": WireError(404000, "PolicyNotFound", 404000),
    "policy.exists": WireError(409000, "PolicyAlreadyExists", 409000),
    "policy.fixed": WireError(409000, "OperationNotAllowed", 409000),
    "policy.too_many": WireError(413001, "TooManyPolicies", 413001),
    "consumer_group.unknown": WireError(404000, "ConsumerGroupNotFound", 404000),
    "consumer_group.fixed": WireError(409000, "OperationNotAllowed", 409000),
    "consumer_group.too_many": WireError(413001, "TooManyConsumerGroups", 413001),
    "ca.too_many": WireError(413001, "TooManyCertificates", 413001),
    "certificate.not_issued": WireError(403010, "OperationNotAvailableInCurrentTier", 403010),
    "message.queue_full": WireError(403004, "DeviceMaximumQueueDepthExceeded", 403004),
    "file.unknown": WireError(404000, "FileNotFound", 404000),
    "file_notification.lock_lost": WireError(412002, "DeviceMessageLockLost", 412201),
    "upload.expired": WireError(400016, "ExpiredFileUploadCorrelationId", 400004),
    "upload.no_blob": WireError(400020, "InvalidStorageEndpointOrBlob", 400004),
    "upload.status": WireError(400019, "InvalidFileUploadCompletionStatus", 400004),
    "upload.too_many": WireError(403006, "DeviceMaximumActiveFileUploadLimitExceeded", 403006),
    "upload.unknown": WireError(400015, "InvalidFileUploadCorrelationId", 400004),
    "message.lock_lost": WireError(412002, "DeviceMessageLockLost", 412201),
    "method.in_flight": WireError(403800, "DeviceMaximumInflightMethodExceeded", 403800),
    "module.not_found": WireError(404010, "ModuleNotFound", 404201),
    "device.not_online": WireError(404103, "DeviceNotOnline", 404201),
    "ca.unknown": WireError(404008, "CertificateNotFound", 404201),
    "api.failed": WireError(500001, "ServerError", 500001, CONNECTION_UNAVAILABLE),
    "operation.unknown": WireError(404000, "OperationNotFound", 404202),
    "registration.unknown": WireError(404000, "RegistrationNotFound", 404202),
    "route.unknown": WireError(404000, "NotFound", 404000),
    "route.method": WireError(405000, "MethodNotAllowed", 405000),
    "link.unknown": WireError(404006, "AmqpAddressNotFound", 404202),
    "token.too_many": WireError(403005, "TooManyTokens", 403005),
    "reader.entity": WireError(404006, "AmqpAddressNotFound", 404202),
    "reader.partition": WireError(404006, "AmqpAddressNotFound", 404202),
    "reader.epoch": WireError(409002, "LinkCreationConflict", 409201),
    "reader.too_many": WireError(403002, "IotHubQuotaExceeded", 403002),
    "module.exists": WireError(409301, "ModuleAlreadyExistsOnDevice", 409201),
    "module.too_many": WireError(413003, "TooManyModulesOnDevice", 413001),
    "method.bad_reply": WireError(502001, "InvalidDeviceReply", 502001),
    "method.timeout": WireError(504101, "GatewayTimeout", 504101, CONNECTION_UNAVAILABLE),
}


def wire_error(refusal: Refusal) -> WireError:
    """What `refusal` is on the wire: by its reason, else by the nearest of its classes."""
    found = BY_REASON.get(refusal.reason)
    if found is not None:
        return found
    return next(BY_CLASS[kind] for kind in type(refusal).__mro__ if kind in BY_CLASS)


def reasons_document() -> str:
    """docs/reference/reasons.md, in Markdown."""
    lines = [_PREFACE, "| Reason | What it says | Hub | AMQP | DPS | CONNECT |", "|---|---|---|---|---|---|"]
    for reason, entry in sorted(REASONS.items()):
        if entry.kind is None:
            lines.append(f"| `{reason}` | {entry.sentence} | | | | |")
            continue
        row = BY_REASON.get(reason) or BY_CLASS[entry.kind]
        codes = f"{row.code} {row.name} | `{row.condition}` | {row.dps_code} | {row.return_code}"
        lines.append(f"| `{reason}` | {entry.sentence} | {codes} |")
    return "\n".join(lines) + "\n"
