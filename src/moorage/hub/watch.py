"""What a change does to the sessions that stand: the only reader of the bus on behalf of live sessions.

identity.disabled, .deleted     the identity's sessions end, and those of a device's modules
identity.updated                ends when the kind of authentication is another one now, or the session's thumbprint
                                was taken out with none put in its place: rolling cuts nobody (decisions T5)
anchors.removed                 sessions whose path holds a certificate that is gone end; all of a group that trusts
                                nothing any more, since a session may hang on what was replaced before (decisions T5)
policies.changed                sessions that the switches no longer allow end, and those that a policy's key let in
                                which the policy has no more, or whose policy may not connect devices any more
waivers.changed                 sessions end that a waiver let in which is taken back
session.claimed                 an older session here of an identity that another app now holds ends
twin.desired, message.enqueued  are handed to the session
"""

from __future__ import annotations

from collections.abc import Callable

from moorage.events import Bus, Event
from moorage.hub.sessions import LiveSession, LiveSessions
from moorage.identities.model import RegistryTables
from moorage.identities.policies import key_mark
from moorage.identities.standing import is_taken_out, pins_of, takes_token
from moorage.ids import DeviceId, HubId, IdentityName, ModuleId
from moorage.store import Store

__all__ = ["SessionWatch", "parse_subject"]


class SessionWatch:
    """Subscribes at once; `close` ends it."""

    def __init__(self, hub: HubId, bus: Bus, store: Store[RegistryTables], live: LiveSessions) -> None:
        self._hub = hub
        self._store = store
        self._live = live
        self._actions: dict[str, Callable[[Event], None]] = {
            "identity.disabled": self._identity_gone,
            "identity.deleted": self._identity_gone,
            "identity.updated": self._identity_updated,
            "anchors.removed": self._anchors_removed,
            "policies.changed": self._policies_changed,
            "waivers.changed": self._waivers_changed,
            "session.claimed": self._claimed,
            "twin.desired": self._desired,
            "message.enqueued": self._message,
        }
        self.close = bus.subscribe(self._heard)

    def _heard(self, event: Event) -> None:
        action = self._actions.get(event.kind)
        if action is not None and event.hub == self._hub:
            action(event)

    def _identity_gone(self, event: Event) -> None:
        name = parse_subject(event.subject)
        if name.module_id is None:
            ending = self._live.of_device(self._hub, name.device_id)
        else:
            session = self._live.find(self._hub, name)
            ending = [] if session is None else [session]
        for session in ending:
            session.end(event.kind, f"'{name}' was {event.kind.removeprefix('identity.')}")

    def _identity_updated(self, event: Event) -> None:
        name = parse_subject(event.subject)
        session = self._live.find(self._hub, name)
        identity = self._store.read().identities.find(self._hub, name)
        if session is None or identity is None or session.who.policy is not None:
            return
        before, pinned = session.who.identity.authentication, session.who.pinned
        if type(identity.authentication) is not type(before):
            session.end("identity.authentication_changed", f"'{name}' authenticates in another way now")
        elif pinned is not None and is_taken_out(pinned, pins_of(before), pins_of(identity.authentication)):
            session.end("identity.thumbprint_removed", f"the thumbprint of '{name}' was taken out of the registry")

    def _anchors_removed(self, event: Event) -> None:
        ending = [
            session
            for thumbprint in event.data.get("thumbprints", ())
            for session in self._live.of_signer(thumbprint)
            if session.who.identity.hub == self._hub and self._hangs_on(session, event.subject)
        ]
        if event.data.get("all"):
            ending += self._live.of_binding(self._hub, event.subject)
        for session in dict.fromkeys(ending):
            session.end("anchors.removed", f"a certificate that '{session.name}' hangs on is not trusted any more")

    def _hangs_on(self, session: LiveSession, subject: str) -> bool:
        binding = session.who.binding or ""
        # A CA of the provisioning service may be referred to by any group.
        return binding == subject or (subject == "dps" and binding.startswith("enrollment:"))

    def _policies_changed(self, event: Event) -> None:
        table = self._store.read().policies
        switches = table.switches(self._hub)
        marks = {
            policy.name: {key_mark(policy.primary), key_mark(policy.secondary)}
            for policy in table.all(self._hub, "hub")
            if "DeviceConnect" in policy.rights
        }
        for session in self._live:
            who = session.who
            if who.method.type != "sas":
                continue
            if not takes_token(switches, session.name, of_policy=who.policy is not None):
                session.end("sas.disabled", f"the hub does not take tokens for '{session.name}' any more")
            elif who.policy is not None and who.policy_key not in marks.get(who.policy, ()):
                session.end(
                    "policy.revoked",
                    f"'{session.name}' came in by a key or right that policy '{who.policy}' has no more",
                )

    def _waivers_changed(self, event: Event) -> None:
        given = self._store.read().waivers.given(self._hub)
        for session in self._live:
            lost = session.who.waivers - given
            if lost:
                names = ", ".join(sorted(lost))
                session.end("waiver.taken_back", f"'{session.name}' came in by a waiver that was taken back: {names}")

    def _claimed(self, event: Event) -> None:
        session = self._live.find(self._hub, parse_subject(event.subject))
        if session is not None and session.epoch < event.data["epoch"]:
            session.end("session.taken_over", f"'{session.name}' connected to another node")

    def _desired(self, event: Event) -> None:
        session = self._live.find(self._hub, parse_subject(event.subject))
        if session is not None:
            session.desired_changed(dict(event.data["patch"]), event.data["version"])

    def _message(self, event: Event) -> None:
        session = self._live.find(self._hub, parse_subject(event.subject))
        if session is not None:
            session.messages_waiting()


def parse_subject(subject: str) -> IdentityName:
    """The identity that an event is about: `d` or `d/m`."""
    device_id, slash, module_id = subject.partition("/")
    return IdentityName(DeviceId(device_id), ModuleId(module_id) if slash else None)
