"""What the parameters of paths and the headers mean: said once, by name, for every route that has them."""

from __future__ import annotations

from typing import Final

from moorage.api.schemas.words import Schema, one_of, text, whole

__all__ = ["ANSWER_HEADERS", "IF_MATCH", "PAGED", "PAGE_HEADERS", "PATH_PARAMETERS", "REQUEST_HEADERS"]

# How long an id may be, as ids.py has it.
PATH_PARAMETERS: Final[dict[str, Schema]] = {
    "id": text("The id: of a device, an enrollment, or whatever the path is about.", most=128),
    "module": text("The module's id.", most=128),
    "lock": text("The lock token of a message or a batch, as its ETag has it.", most=128),
    "name": text("The name of a CA certificate, a linked hub, a message route or an endpoint.", most=64),
    "key": text("The name of the property that an enrichment adds.", most=64),
    "number": whole("The number of a dead letter."),
    "picture": one_of("logo", "icon", about="Which of the two pictures."),
    "alias": text("The alias.", most=64),
    "view": text("The id of a view of a device template.", most=48),
    "action": text("The id of an action of a rule.", most=64),
    "blob": text("The device's id, a slash, and its name for the file.", most=1024),
    "file": text("The device's id, a slash, and its name for the file.", most=1024),
    "correlation": text("The correlation id of an upload.", most=128),
    "user": text("The id of a user of the application.", most=48),
    "telemetry": text("The name of a telemetry.", most=128),
    "rerun": text("The id of the new job.", most=255),
    "relationship": text("The id of the device below.", most=128),
    "entry": one_of("primary", "secondary", about="Which of a group's two certificates."),
    "slot": one_of("primary", "secondary", about="Which of a group's two certificates."),
    "scope": text("The ID scope.", most=128),
    "operation": text("The operation id that register gave.", most=128),
    "subscription": text("Anything: there are no subscriptions here."),
    "group": text("Anything: there are no resource groups here."),
    "resource": text("The hub's id, or the first label of its host name."),
    "policy": text("The name of a shared access policy.", most=64),
    "command": text("The command's name.", most=128),
    "component": text("The component's name.", most=64),
    "endpoint": one_of("events", about="The built-in endpoint."),
    "namespace": one_of("Microsoft.Devices", about="The one provider."),
}

# Names to be given in `Route.headers`.
IF_MATCH: Final = "if-match"
PAGED: Final = ("x-ms-max-item-count", "x-ms-continuation")
REQUEST_HEADERS: Final[dict[str, Schema]] = {
    IF_MATCH: text('The ETag that was read, in any of its spellings, or "*" for whatever is there.'),
    "if-none-match": text("`*`: only if there is none yet."),
    "x-ms-max-item-count": whole("At most so many on a page."),
    "x-ms-continuation": text("What the page before gave."),
    "iothub-messagelocktimeout": whole("Seconds to hold the message, 5 to 300."),
    "last-event-id": text("The id of the last event that was seen: the stream goes on behind it."),
}

# Names to be given in `Route.answer_headers`.
PAGE_HEADERS: Final = ("x-ms-continuation", "x-ms-item-type")
ANSWER_HEADERS: Final[dict[str, Schema]] = {
    "etag": text("The ETag of what was answered, in quotes."),
    "iothub-locktoken": text("Under which the batch is held; the same as the ETag, without quotes."),
    "iothub-messageid": text("The message's id; further iothub-... headers hold what else its sender said."),
    "iothub-sequencenumber": whole("Orders messages; never repeats."),
    "iothub-deliverycount": whole("How often it was given out and given back."),
    "location": text("Where to look for the outcome."),
    "retry-after": whole("Seconds to wait."),
    "x-ms-continuation": text("Absent on the last page."),
    "x-ms-item-type": text("What the page holds."),
    "moorage-warning": text("Members of the body that mean nothing here, and were left aside."),
    "azure-asyncoperation": text("Where the outcome can be asked for."),
    "x-ms-command-statuscode": text("The status the device gave."),
    "x-ms-request-id": text("The tracking id."),
}
