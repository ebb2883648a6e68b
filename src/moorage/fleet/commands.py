"""Commands: what people and programs of the application ask of a device, and what became of it.

    run ──► kept as begun ──► direct method ──► kept with the answer, or with why there is none
                         └──► queued as a message (a command that may wait for its device): no answer comes

A command is a method on the wire, a component's is `component*command` (contract/central.md W-6). One that its model
calls durable becomes a cloud-to-device message with the property `method-name` (W-7). A device that answers 202 says
later, in a reported property of the command's name, how it went (W-8). Of each device the last runs are kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, Protocol

from moorage.accounts.model import Actor
from moorage.clock import Clock
from moorage.dtdl.model import Interface
from moorage.errors import Invalid, Refusal
from moorage.fleet.device_models import DeviceModels
from moorage.hub.digital_twins import command_method, is_component
from moorage.hub.messages import MessageDraft, MessageService
from moorage.hub.methods import MethodCall, MethodReply, MethodService, check_call
from moorage.hub.model import Twin
from moorage.identities.model import RegistryTables
from moorage.identities.registry import find_in
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId, new_tracking_id
from moorage.store import Store

__all__ = [
    "MAX_RUNS_KEPT",
    "QUEUED_FOR",
    "CommandRun",
    "CommandTable",
    "CommandTables",
    "Commands",
    "Outcome",
    "Progress",
    "describe_outcome",
    "judge_command",
    "message_of",
    "outcome_of",
    "progress_of",
]

audit = logging.getLogger("moorage.audit")

# Of each device, the newest: request and answer of a run may have 128 KiB each.
MAX_RUNS_KEPT: Final = 50
# How long a command waits for its device (contract/central.md W-7).
QUEUED_FOR: Final = timedelta(hours=24)
# The body of a queued command that has no payload; devices expect it so.
_NO_PAYLOAD: Final = b"@"
# A call takes at most its two timeouts; what has no end by then had a hub that stopped under it.
_LONGEST: Final = timedelta(minutes=10)
_ACCEPTED: Final = 202

Outcome = Literal["running", "answered", "accepted", "queued", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class CommandRun:
    """One run of a command.

    Attributes:
        component: '' for the root of the model.
        request: any JSON value; None for no payload.
        response, status: what the device answered; None while it has not, and for what was queued.
        reason, message: of the refusal that stood in for an answer; '' without one.
        by: as in the audit log.
    """

    hub: HubId
    name: IdentityName
    run_id: str
    component: str
    command: str
    request: Any
    is_queued: bool
    started: datetime
    by: str
    response: Any = None
    status: int | None = None
    reason: str = ""
    message: str = ""
    ended: datetime | None = None


class Progress(NamedTuple):
    """What a device reported of a command that it had answered with 202 (W-8)."""

    value: Any
    at: str


class CommandTable(Protocol):
    """Runs, by device."""

    def add(self, run: CommandRun, *, keep: int) -> None:
        """Of the device only the `keep` newest stay."""

    def end(self, run: CommandRun) -> None:
        """Keep how it ended; nothing when it was forgotten meanwhile."""

    def find(self, hub: HubId, name: IdentityName, run_id: str) -> CommandRun | None: ...

    def newest(self, hub: HubId, device_id: DeviceId, limit: int) -> list[CommandRun]:
        """Of the device and its modules, the newest first."""


class CommandTables(RegistryTables, Protocol):
    """What commands need of a store."""

    @property
    def commands(self) -> CommandTable: ...


class Commands:
    """Runs commands of devices that an actor sees, and remembers them."""

    def __init__(
        self,
        hub: HubId,
        store: Store[CommandTables],
        methods: MethodService,
        messages: MessageService,
        models: DeviceModels,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._store = store
        self._methods = methods
        self._messages = messages
        self._models = models
        self._clock = clock

    async def run(
        self,
        actor: Actor,
        device_id: DeviceId,
        command: str,
        request: Any = None,
        *,
        component: str = "",
        module: ModuleId | None = None,
        is_queued: bool = False,
        response_timeout_s: int = 30,
        connect_timeout_s: int = 0,
        run_id: str | None = None,
    ) -> CommandRun:
        """Run it and return what became of it, kept; one that is queued returns when it waits.

        With a `run_id` that was used before, nothing is run: what is known of that run is returned (a form sent twice).
        `is_queued` is for what no model knows; of a command in the model, the model says it. None as `request` is no
        payload. A command that the model does not have is sent as it is (TPL-10).

        Raises, and keeps the run with the reason: as `MethodService.invoke` and `MessageService.enqueue`. Raises
        without keeping anything: `NotFound` (`device.unknown`, `device.not_registered`, `module.not_found`), as
        `check_call`, and `Invalid`: `command.name`, `command.request` for a request that its schema does not allow.
        """
        model = self._models.get(actor, device_id)
        model.check_registered()
        name = IdentityName(device_id, module)
        _check_names(component, command)
        if model.interface is not None and module is None:
            is_queued = judge_command(model.interface, component, command, request, is_queued=is_queued)
        method = command_method(command, component or None)
        call = MethodCall(method, request, response_timeout_s, connect_timeout_s)
        await asyncio.to_thread(check_call, call)
        run = CommandRun(
            hub=self._hub,
            name=name,
            run_id=run_id or new_tracking_id().lower(),
            component=component,
            command=command,
            request=request,
            is_queued=is_queued,
            started=self._clock.now(),
            by=actor.name,
        )

        def begin(tables: CommandTables) -> CommandRun | None:
            find_in(tables, self._hub, name)
            earlier = tables.commands.find(self._hub, name, run.run_id)
            if earlier is None:
                tables.commands.add(run, keep=MAX_RUNS_KEPT)
            return earlier

        if (earlier := await self._store.write(begin)) is not None:
            return earlier
        facts = {"hub": self._hub, "device": str(name), "command": method, "run": run.run_id, "by": actor.name}
        audit.info(
            "command.run hub=%s device=%s command=%s run=%s by=%s",
            *facts.values(),
            extra={"event": "command.run", "facts": facts},
        )
        try:
            if is_queued:
                await self._messages.enqueue(self._hub, name, message_of(method, request, now=run.started))
                return await self._end(run)
            reply = await self._methods.invoke(self._hub, name, call)
        except Refusal as refusal:
            await self._end(replace(run, reason=refusal.reason, message=refusal.message))
            raise
        return await self._end(_answered(run, reply))

    async def history(
        self,
        actor: Actor,
        device_id: DeviceId,
        *,
        component: str | None = None,
        module: ModuleId | None = None,
        command: str | None = None,
        limit: int = MAX_RUNS_KEPT,
    ) -> list[CommandRun]:
        """The newest first; `component` and `command` None are any, `module` None is the device itself.

        Read in a thread: all of them together may have some megabytes. Raises `NotFound` (`device.unknown`).
        """
        return [
            run
            for run in await self.runs(actor, device_id)
            if run.name.module_id == module
            and (component is None or run.component == component)
            and (command is None or run.command == command)
        ][:limit]

    async def runs(self, actor: Actor, device_id: DeviceId) -> list[CommandRun]:
        """All that are kept, the newest first, of modules too; read in a thread. Raises as `history`."""
        self._models.get(actor, device_id)
        return await self._store.scan(lambda tables: tables.commands.newest(self._hub, device_id, MAX_RUNS_KEPT))

    async def _end(self, run: CommandRun) -> CommandRun:
        ended = replace(run, ended=self._clock.now())
        await self._store.write(lambda tables: tables.commands.end(ended))
        return ended


def judge_command(interface: Interface, component: str, command: str, request: Any, *, is_queued: bool = False) -> bool:
    """Whether it is queued for a device that is away; as `is_queued` says of one that the model does not have.

    Raises `Invalid` (`command.request`).
    """
    found = interface.find_command(command, component)
    if found is None:
        return is_queued
    if found.request is not None and request is not None:
        why = found.request.schema.check(request)
        if why is not None:
            raise Invalid("command.request", f"the request of {found.label!r} does not fit its schema: {why}")
    return found.is_durable


def message_of(method: str, request: Any, *, now: datetime) -> MessageDraft:
    """A command as the message that waits for its device (W-7)."""
    properties, expires = {"method-name": method}, now + QUEUED_FOR
    if request is None:
        return MessageDraft(_NO_PAYLOAD, properties, expires=expires)
    body = json.dumps(request, separators=(",", ":")).encode()
    return MessageDraft(body, properties, content_type="application/json", content_encoding="utf-8", expires=expires)


def outcome_of(run: CommandRun, *, now: datetime) -> Outcome:
    if run.reason:
        return "failed"
    if run.ended is None:
        return "running" if now < run.started + _LONGEST else "lost"
    if run.is_queued:
        return "queued"
    return "accepted" if run.status == _ACCEPTED else "answered"


def describe_outcome(run: CommandRun, *, now: datetime) -> str:
    """A few words for the history."""
    match outcome_of(run, now=now):
        case "running":
            return "Waiting for an answer"
        case "lost":
            return "No answer: the hub stopped while it waited"
        case "queued":
            return "Queued for the device"
        case "accepted":
            return "Accepted (202); the device reports later how it went"
        case "answered":
            return f"Answered {run.status}"
        case "failed":
            return run.message


def progress_of(run: CommandRun, twin: Twin) -> Progress | None:
    """What the device has reported of a run that it answered with 202, since then; None when nothing."""
    if run.status != _ACCEPTED:
        return None
    values: Any = twin.reported.value
    metadata: Any = twin.reported.metadata
    for part in (run.component, run.command) if run.component else (run.command,):
        if not isinstance(values, Mapping) or part not in values:
            return None
        values, metadata = values[part], metadata.get(part, {})
    at = metadata.get("$lastUpdated", "")
    # Both in UTC, down to the second; what is older is of an earlier run.
    if is_component(values) or at[:19] < run.started.isoformat()[:19]:
        return None
    return Progress(values, at)


def _answered(run: CommandRun, reply: MethodReply) -> CommandRun:
    return replace(run, response=reply.payload, status=reply.status)


def _check_names(component: str, command: str) -> None:
    """A star would be taken for the one between component and command. Raises `Invalid` (`command.name`)."""
    for what, text in (("component", component), ("command", command)):
        if "*" in text and component:
            raise Invalid("command.name", f"{text[:80]!r} is not the name of a {what}: it has a '*'")
