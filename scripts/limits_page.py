"""docs/reference/limits.md: every limit on what somebody else can make the hub keep, read, count or wait for.

The numbers are those of the code: a line names a setting, or a module and a constant in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Final, NamedTuple

from moorage.settings import SETTINGS

__all__ = ["LIMITS", "limits_page"]


class Limit(NamedTuple):
    """`place` is `module:CONSTANT` below `moorage`, or the name of a setting. `beyond` is what happens then."""

    what: str
    place: str
    unit: str
    beyond: str


LIMITS: Final[dict[str, list[Limit]]] = {
    "Connections": [
        Limit("Connections to a port", "max_connections", "", "a stranger is closed, `connections.limit`"),
        Limit("... from one address", "max_connections_per_address", "", "a stranger of it, `connections.address`"),
        Limit("... of peers that were not let in yet", "max_strangers", "", "one of them, `connections.strangers`"),
        Limit("... that the kernel holds until they are taken", "servers.backlog:BACKLOG", "", "the kernel drops them"),
        Limit("... taken from it at once", "servers.backlog:MAX_TAKEN_AT_ONCE", "", "the rest 10 ms later"),
        Limit("Strangers' part of a turn of the loop", "servers.turns:BUDGET_S", "s", "they wait in a queue"),
        Limit("Bytes of a stranger that waits", "servers.turns:MAX_AHEAD_BYTES", "bytes", "read no further"),
        Limit(
            "... of all with more than that",
            "servers.turns:MAX_AHEAD_BYTES_OF_ALL",
            "bytes",
            "the oldest is closed, `connections.busy`",
        ),
        Limit("Addresses known, and as many refused ones", "servers.admission:MAX_REMEMBERED", "", "the oldest go"),
        Limit("An address is known after a peer was let in", "servers.admission:KNOWN_S", "s", "as any other"),
        Limit("An address is behind others after a refusal", "servers.admission:REFUSED_S", "s", "as any other"),
        Limit("Networks counted for the line on dropped ones", "servers.sheds:MAX_NETWORKS", "", "not named"),
        Limit("TLS handshake, in time", "handshake_timeout_s", "s", "closed, `tls.handshake_timeout`"),
        Limit(
            "TLS handshake, in bytes",
            "protocols.tls.engine:MAX_HANDSHAKE_BYTES",
            "bytes",
            "closed, `tls.handshake_too_large`",
        ),
        Limit(
            "CONNECT after the handshake",
            "protocols.mqtt.connection:CONNECT_PATIENCE_S",
            "s",
            "closed, `mqtt.no_connect`",
        ),
        Limit("CONNECT, in bytes", "protocols.mqtt.connection:MAX_CONNECT_BYTES", "bytes", "closed, `mqtt.too_large`"),
        Limit(
            "Silence between packets, at most",
            "protocols.mqtt.connection:KEEP_ALIVE_CAP_S",
            "s",
            "closed, `mqtt.keep_alive`",
        ),
        Limit("Unsent bytes of a peer that does not read", "servers.front_door:_MAX_UNSENT_BYTES", "bytes", "closed"),
        Limit("Farewell of a connection that ends", "servers.front_door:_FAREWELL_S", "s", "aborted"),
        Limit("Intermediate certificates shared in memory", "servers.front_door:_MAX_INTERNED", "", "not shared"),
        Limit("Shutdown", "shutdown_grace_s", "s", "what is left is cut"),
    ],
    "AMQP": [
        Limit("Frame", "protocols.amqp.framing:DEFAULT_LIMITS.max_frame_bytes", "bytes", "closed, `amqp.framing`"),
        Limit(
            "Time from the first byte to open",
            "protocols.amqp.framing:DEFAULT_LIMITS.open_s",
            "s",
            "closed, `amqp.idle`",
        ),
        Limit(
            "Silence of a peer that is open",
            "protocols.amqp.framing:DEFAULT_LIMITS.silence_s",
            "s",
            "closed, `amqp.idle`",
        ),
        Limit(
            "Sessions of a connection", "protocols.amqp.framing:DEFAULT_LIMITS.max_sessions", "", "closed, `amqp.limit`"
        ),
        Limit(
            "Links of a session",
            "protocols.amqp.framing:DEFAULT_LIMITS.max_links_per_session",
            "",
            "closed, `amqp.limit`",
        ),
        Limit("Links of a connection", "protocols.amqp.framing:DEFAULT_LIMITS.max_links", "", "closed, `amqp.limit`"),
        Limit(
            "Message, where its link says nothing else",
            "protocols.amqp.framing:DEFAULT_LIMITS.max_message_bytes",
            "bytes",
            "detached, `amqp:link:message-size-exceeded`",
        ),
        Limit(
            "Messages of a connection of which parts are missing",
            "protocols.amqp.framing:DEFAULT_LIMITS.max_partial_bytes",
            "bytes",
            "closed, `amqp.limit`",
        ),
        Limit(
            "Transfers of a session before it hears from the hub",
            "protocols.amqp.framing:DEFAULT_LIMITS.incoming_window",
            "",
            "closed, `amqp.window`",
        ),
        Limit(
            "Deliveries of a session that wait for the peer's outcome",
            "protocols.amqp.framing:DEFAULT_LIMITS.max_unsettled",
            "",
            "no more are sent",
        ),
        Limit(
            "Bytes that wait for a peer that does not read",
            "protocols.amqp.framing:DEFAULT_LIMITS.max_pending_bytes",
            "bytes",
            "closed, `amqp.limit`",
        ),
        Limit("Values nested in each other", "protocols.amqp.types:MAX_DEPTH", "", "closed, `amqp.decode`"),
        Limit("Values in a frame or a section", "protocols.amqp.types:MAX_ITEMS", "", "closed, `amqp.decode`"),
        Limit("Sections of a message", "protocols.amqp.message:MAX_SECTIONS", "", "closed, `amqp.decode`"),
        Limit("Messages of a batch", "protocols.amqp.message:MAX_BATCH", "", "closed, `amqp.decode`"),
        Limit("Delivery tag", "protocols.amqp.connection:MAX_TAG_BYTES", "bytes", "closed, `amqp.field`"),
        Limit("Steps of SASL", "protocols.amqp.framing:_MAX_SASL_STEPS", "", "closed, `amqp.sasl`"),
        Limit("Peer's answer to a close", "protocols.amqp.framing:_CLOSING_S", "s", "closed"),
        Limit("First link that keeps a connection open", "servers.amqp.stream:_FIRST_LINK_S", "s", "closed"),
        Limit("Next one, after the last has gone", "servers.amqp.stream:_NEXT_LINK_S", "s", "closed"),
        Limit("Tokens of a connection", "servers.amqp.credentials:MAX_TOKENS", "", "`token.too_many`"),
        Limit(
            "Refusals of a stranger on a connection", "servers.amqp.stream:_MAX_REFUSED", "", "closed, `amqp.refused`"
        ),
        Limit(
            "Readers of a partition in a consumer group, of those without an epoch",
            "servers.amqp.events:_MAX_WITHOUT_EPOCH",
            "",
            "refused, `reader.too_many`",
        ),
        Limit(
            "Messages of a back end on their way to queues of devices",
            "servers.amqp.service:_CREDIT",
            "",
            "no credit for more",
        ),
        Limit(
            "Peer that takes nothing of what waits for it",
            "servers.amqp.stream:_STALLED_S",
            "s",
            "dropped, and counted",
        ),
        Limit("Silence of a device that provisions", "servers.amqp.provisioning:_PATIENCE_S", "s", "closed"),
        Limit("Response of a TPM", "servers.amqp.tpm:_MAX_RESPONSE_BYTES", "bytes", "`tpm.sasl`"),
        Limit("Answers that wait for credit on a link", "servers.amqp.nodes:MAX_WAITING", "", "`link.answers`"),
        Limit("... and their bytes", "servers.amqp.nodes:MAX_WAITING_BYTES", "bytes", "`link.answers`"),
        Limit("Bytes to be written before nodes send on", "servers.amqp.stream:_MAX_UNWRITTEN", "bytes", "they wait"),
        Limit("Part of a turn of the loop", "servers.amqp.stream:_TURN_S", "s", "the rest of what came waits"),
        Limit(
            "Sessions, links and tokens of a connection, and as much for each identity that was let in",
            "servers.amqp.allowance:OWN_BYTES",
            "bytes",
            "shared memory is used",
        ),
        Limit(
            "... of all connections beyond that",
            "servers.amqp.allowance:SHARED_BYTES",
            "bytes",
            "who wants more is closed, `amqp.memory`",
        ),
        Limit("Telemetry on its way on a link", "servers.amqp.device:_TELEMETRY_CREDIT", "", "detached"),
        Limit("Requests on their way on a link", "servers.amqp.device:_REQUEST_CREDIT", "", "detached"),
        Limit("Tokens on their way to $cbs", "servers.amqp.cbs:_CREDIT", "", "detached"),
        Limit("Requests to provisioning on their way", "servers.amqp.provisioning:_CREDIT", "", "detached"),
        *(
            Limit(f"Message {what}", f"servers.amqp.{place}", "bytes", "detached, `amqp:link:message-size-exceeded`")
            for what, place in (
                ("to $cbs", "cbs:_MAX_REQUEST_BYTES"),
                ("to $management", "events:_MAX_REQUEST_BYTES"),
                ("of telemetry", "device:_MAX_TELEMETRY_BYTES"),
                ("of a twin or of a method's answer", "device:_MAX_REQUEST_BYTES"),
                ("to provisioning", "provisioning:_MAX_REQUEST_BYTES"),
                ("of a back end, to a device", "service:_MAX_DELIVERY_BYTES"),
            )
        ),
    ],
    "WebSockets": [
        Limit(
            "Frames that are read before others have their turn", "servers.websocket:_FRAMES_AT_ONCE", "", "they wait"
        ),
        Limit("Peer's answer to a Close", "servers.websocket:_FAREWELL_S", "s", "closed"),
    ],
    "MQTT": [
        Limit("Packet", "protocols.mqtt.connection:MAX_PACKET_BYTES", "bytes", "closed, `mqtt.too_large`"),
        Limit("Filters in a SUBSCRIBE", "protocols.mqtt.codec:MAX_FILTERS", "", "closed, `mqtt.too_large`"),
        Limit(
            "Telemetry message with its properties",
            "hub.telemetry:MAX_MESSAGE_BYTES",
            "bytes",
            "closed, `telemetry.too_large`",
        ),
        Limit("Requests of a session under way", "servers.work:MAX_RUNNING", "", "read no further"),
        Limit(
            "Packets that a device has not acknowledged",
            "servers.deliveries:MAX_UNACKNOWLEDGED",
            "",
            "closed, `mqtt.in_flight`",
        ),
        Limit(
            "Deliveries remembered of devices that went away",
            "servers.deliveries:_MAX_REMEMBERED",
            "",
            "the oldest are sent anew",
        ),
        Limit("Lock of a message that was delivered", "servers.deliveries:LOCK_S", "s", "delivered again"),
        Limit(
            "Requests of a device that provisions, waiting",
            "servers.dps_peer:_MAX_REQUESTS",
            "",
            "closed, `dps.too_large`",
        ),
        Limit("Characters of a request id (provisioning)", "dialects.mqtt_dps:_MAX_RID", "", "closed, `dps.topic`"),
    ],
    "Devices over HTTPS, and files": [
        Limit("Messages of a batch", "dialects.device_http:MAX_BATCH_MESSAGES", "", "`batch.count`"),
        Limit("Message or batch, with its properties", "hub.telemetry:MAX_MESSAGE_BYTES", "bytes", "`telemetry.size`"),
        Limit("The same as it is sent", "api.device_messages:_MAX_REQUEST_BYTES", "bytes", "`body.size`"),
        Limit("Lock of a message to a device", "hub.message_locks:LOCK", "s", "given out again"),
        Limit("Deliveries of a message", "hub.messages:MAX_DELIVERIES", "", "given up, with feedback"),
        Limit(
            "Removals of anchors that uploads are judged by",
            "hub.upload_standing:MAX_REMOVED",
            "",
            "older uploads are judged by what is trusted now",
        ),
        Limit("Uploads of a device that are open", "hub.uploads:MAX_OPEN", "", "`upload.too_many`"),
        Limit("Upload, in time", "upload_lifetime_minutes", "minutes", "`upload.expired`"),
        Limit("File", "upload_max_mb", "MiB", "`upload.size`"),
        Limit("One request with a file or a block", "api.blobs:LARGE_BODY_BYTES", "bytes", "413"),
        Limit("Blocks of a file", "hub.uploads:MAX_BLOCKS", "", "`upload.blocks`"),
        Limit("Block list", "dialects.blob_http:MAX_LIST_BYTES", "bytes", "`body.size`"),
        Limit("Files on their way, together", "upload_waiting_max_mb", "MiB", "`upload.waiting`"),
        Limit("Files written to the store at one time", "hub.uploads:_COMMITS", "", "they wait"),
    ],
    "Device templates": [
        Limit("Device templates", "fleet.template_model:MAX_TEMPLATES", "", "`template.number`"),
        Limit("Model", "fleet.template_model:MAX_DOCUMENT_CHARS", "characters", "`template.limit`"),
        Limit(
            "Capabilities of a model, its components included", "dtdl.parser:MAX_CAPABILITIES", "", "`template.limit`"
        ),
        Limit("Capabilities that an interface declares", "dtdl.parser:MAX_CONTENTS", "", "`template.limit`"),
        Limit("Interfaces that extend each other", "dtdl.parser:MAX_EXTENDS_DEPTH", "", "`template.limit`"),
        Limit("Interfaces of a model, each place counted", "dtdl.documents:MAX_INTERFACES", "", "`template.limit`"),
        Limit("Schemas inside of schemas", "dtdl.schema_parser:MAX_SCHEMA_DEPTH", "", "`template.limit`"),
        Limit("Schemas of a model, each place counted", "dtdl.schema_parser:MAX_SCHEMA_NODES", "", "`template.limit`"),
        Limit("Views that people make for a template", "fleet.views:MAX_VIEWS", "", "`view.number`"),
        Limit("Tiles of a view", "fleet.views:MAX_TILES", "", "`view.number`"),
        Limit("Capabilities that are guessed of a device", "fleet.guessing:MAX_GUESSES", "", "left out, and said"),
    ],
    "Certificates": [
        Limit("Certificates of a chain", "pki.policy:MAX_CERTIFICATES", "", "`chain.too_long`"),
        Limit("Chain, in bytes", "pki.policy:MAX_CHAIN_BYTES", "bytes", "`chain.too_large`"),
        Limit("Signatures checked for a chain", "pki.policy:MAX_SIGNATURE_CHECKS", "", "`chain.too_long`"),
        Limit(
            "Names compared with constraints", "pki.name_constraints:MAX_COMPARISONS", "", "`chain.name_constraints`"
        ),
        Limit("Certificate", "pki.certificates:MAX_CERTIFICATE_BYTES", "bytes", "`certificate.too_large`"),
        Limit("File or text with certificates", "pki.inputs:MAX_INPUT_BYTES", "bytes", "`certificate.too_large`"),
        Limit("Certificates in such a file", "pki.inputs:MAX_CERTIFICATES", "", "`certificate.too_large`"),
        Limit("Rounds to derive a key with, that a file asks for", "pki.der:MAX_ROUNDS", "", "`pfx.malformed`"),
        Limit("Revocation list", "pki.revocation_lists:MAX_LIST_BYTES", "bytes", "`crl.too_large`"),
        Limit("Entries of a revocation list", "pki.revocation_lists:MAX_ENTRIES", "", "`crl.too_large`"),
        Limit("Entries of all revocation lists", "certificates.revocation:MAX_ALL_ENTRIES", "", "`crl.too_many`"),
        Limit("CAs whose lists are looked at", "certificates.revocation:MAX_CRL_ISSUERS", "", "`crl.too_many`"),
        Limit(
            "List that is read in a process of its own, from",
            "adapters.list_reader:IN_THREAD_BYTES",
            "bytes",
            "a smaller one is read in a thread",
        ),
        Limit("Processor time for that", "adapters.list_reader:READER_CPU_S", "s", "`crl.unread`"),
        Limit("Memory for that", "adapters.list_reader:READER_MEMORY_BYTES", "bytes", "`crl.unread`"),
        Limit("List that is fetched, in time", "adapters.revocation_sources:FETCH_S", "s", "`egress.timeout`"),
        Limit("Between two fetches of a list, at least", "certificates.list_fetching:FETCH_AT_LEAST", "", "it waits"),
        Limit(
            "Between two fetches of a list, at most", "certificates.list_fetching:FETCH_AT_MOST", "", "fetched again"
        ),
        Limit("Questions that wait for OCSP responders", "certificates.ocsp_asking:MAX_QUESTIONS", "", "asked later"),
        Limit("OCSP answers held", "certificates.known_revocation:MAX_ANSWERS", "", "the least used goes"),
        Limit("OCSP responder, in time", "adapters.revocation_sources:OCSP_S", "s", "`egress.timeout`"),
        Limit("Answer of an OCSP responder", "pki.ocsp:MAX_RESPONSE_BYTES", "bytes", "`chain.revocation_unknown`"),
        Limit("Age of such an answer", "pki.ocsp:MAX_AGE", "", "`chain.revocation_unknown`"),
        Limit("Verification code", "pki.possession:CODE_LIFETIME", "", "`proof.code_expired`"),
        Limit("CAs of the hub", "certificates.service:MAX_CAS[hub]", "", "`ca.too_many`"),
        Limit("CAs of provisioning", "certificates.service:MAX_CAS[dps]", "", "`ca.too_many`"),
    ],
    "Credentials": [
        Limit("SAS token", "identities.sas:MAX_TOKEN_CHARS", "characters", "`token.malformed`"),
        Limit("Clock skew that a SAS token is allowed", "identities.sas:CLOCK_SKEW", "", "`token.expired`"),
        Limit("Owner's bearer", "identities.owner:MAX_LIFETIME", "", "`bearer.lifetime`"),
        Limit("Shared access key, at least", "identities.policy_rules:KEY_BYTES_MIN", "bytes", "`key.length`"),
        Limit("Shared access key, at most", "identities.policy_rules:KEY_BYTES_MAX", "bytes", "`key.length`"),
        Limit("Policies", "identities.policy_rules:MAX_POLICIES", "", "`policy.too_many`"),
        Limit("Modules of a device", "identities.registry:MAX_MODULES", "", "`module.too_many`"),
    ],
    "Provisioning": [
        Limit("Body of a device's request", "dialects.dps_json:MAX_BODY_BYTES", "bytes", "`body.size`"),
        Limit("Registrations", "throttle_registrations_per_minute", "a minute", "429, `throttle.exceeded`"),
        Limit("Polls", "throttle_polls_per_minute", "a minute", "429, `throttle.exceeded`"),
        Limit("Operations on enrollments", "throttle_enrollments_per_minute", "a minute", "429, `throttle.exceeded`"),
        Limit("Individual enrollments", "max_enrollments", "", "`enrollment.too_many`"),
        Limit("Groups", "max_enrollment_groups", "", "`enrollment.too_many`"),
        Limit("Key that a TPM shows", "pki.tpm:MAX_PUBLIC_BYTES", "bytes", "`tpm.public_area`"),
        Limit("Answer to the challenge of a TPM", "provisioning.tpm_challenges:ANSWER_WITHIN", "", "begins again"),
        Limit("Asking for its result", "provisioning.tpm_challenges:FORGOTTEN_AFTER", "", "begins again"),
        Limit("Challenges of one enrolled TPM", "provisioning.tpm_challenges:MAX_OF_ONE", "", "the oldest is void"),
        Limit("Enrolled TPMs with a challenge", "provisioning.tpm_challenges:MAX_CHALLENGED", "", "the oldest is void"),
        Limit("Linked hubs", "provisioning.linked_hubs:MAX_LINKED_HUBS", "", "`linked_hub.too_many`"),
        Limit("Web hooks asked at once", "dialects.dps_allocation:MAX_HOOKS_AT_ONCE", "", "the rest wait"),
        Limit(
            "Answer of a web hook",
            "dialects.dps_allocation:MAX_WEBHOOK_ANSWER_BYTES",
            "bytes",
            "`egress.response_size`",
        ),
        Limit("Web hook, in time", "adapters.webhook:_TOTAL_S", "s", "`egress.timeout`"),
        Limit("Silence on a provisioning connection", "servers.dps_peer:DpsPeer.PATIENCE_S", "s", "closed"),
    ],
    "HTTP": [
        Limit("Head of a request", "servers.http:_MAX_HEADER_BYTES", "bytes", "431"),
        Limit("Body of a request, on any path", "servers.http:_MAX_BODY_BYTES", "bytes", "413"),
        Limit("Body of a request, unless a path says otherwise", "api.routing:MAX_BODY_BYTES", "bytes", "`body.size`"),
        Limit("Body that is read ahead", "servers.http:_BODY_AHEAD_BYTES", "bytes", "read no further"),
        Limit("Request, until it has arrived", "servers.http:_REQUEST_S", "s", "408"),
        Limit("Files, uploaded to the hub, after that time", "servers.http:_LARGE_BYTES_PER_S", "bytes/s", "408"),
        Limit("Connection that nobody uses, or whose answer nobody takes", "servers.http:_IDLE_S", "s", "closed"),
        Limit("Bytes taken after a refusal", "servers.http:_LINGER_S", "s", "closed"),
        Limit("Path", "api.routing:_MAX_PATH_BYTES", "bytes", "`path.size`"),
        Limit("Nesting of JSON", "dialects.json_text:MAX_DEPTH", "", "`json.depth`"),
        Limit("Items of a bulk operation", "hub.bulk:MAX_ITEMS", "", "400"),
        Limit("Body of a bulk operation", "api.hub_bulk:_MAX_BODY_BYTES", "bytes", "`body.size`"),
        Limit("Enrollments of a bulk operation", "api.dps_service:_MAX_BULK", "", "`body.member`"),
        Limit("Page of enrollments", "api.dps_service:_MAX_PAGE", "", "cut to it"),
        Limit("Page of a query", "hub.queries:MAX_PAGE", "", "cut to it"),
        Limit("Page of jobs", "api.hub_jobs:_MAX_PAGE", "", "cut to it"),
        Limit("Page of connections", "api.connections:_MAX_LIMIT", "", "`query.number`"),
        Limit("Page of attempts", "api.own:_MAX_ATTEMPTS", "", "`query.number`"),
        Limit("Page of telemetry", "api.telemetry:_MAX_LIMIT", "", "`query.number`"),
        Limit("Events that wait for a slow follower", "api.connections:_MAX_BEHIND", "", "counted, and it is told"),
        Limit("Followers of telemetry", "api.telemetry:MAX_FOLLOWERS", "", "`telemetry.followers`"),
        Limit("Followers of who comes and goes", "api.connections:MAX_FOLLOWERS", "", "`connections.followers`"),
        Limit("Registry operations", "throttle_registry_per_minute", "a minute", "429, `throttle.exceeded`"),
        Limit("Calls of the application's REST API, of one token", "throttle_central_per_second", "a second", "429"),
        Limit("Queries", "throttle_queries_per_minute", "a minute", "429, `throttle.exceeded`"),
        Limit("Method calls", "throttle_methods_per_second", "a second", "429, `throttle.exceeded`"),
    ],
    "Twins, messages, methods": [
        Limit("Tags", "hub.twins:MAX_TAGS_BYTES", "bytes", "`twin.size`"),
        Limit("Desired properties", "hub.twins:MAX_DESIRED_BYTES", "bytes", "`twin.size`"),
        Limit("Reported properties", "hub.twins:MAX_REPORTED_BYTES", "bytes", "`twin.size`"),
        Limit("Nesting of a twin", "hub.twins:_MAX_DEPTH", "", "`twin.depth`"),
        Limit("Message to a device", "hub.messages:MAX_MESSAGE_BYTES", "bytes", "`message.size`"),
        Limit("Messages that wait for a device", "hub.messages:MAX_WAITING", "", "`message.queue_full`"),
        Limit("Life of a message to a device", "hub.messages:MAX_TTL", "", "`message.expiry`"),
        Limit("Payload of a method", "hub.methods:MAX_PAYLOAD_BYTES", "bytes", "`method.payload`"),
        Limit("Calls that a device has not answered", "hub.methods:MAX_CALLS_PER_IDENTITY", "", "`method.in_flight`"),
    ],
    "Jobs, configurations, transfers": [
        Limit("Jobs at one time", "jobs_at_once", "", "the others wait"),
        Limit("Jobs that have not ended", "hub.jobs:MAX_UNFINISHED", "", "429, `job.too_many`"),
        Limit("Devices that a job names", "hub.jobs:MAX_DEVICE_IDS", "", "`job.targets`"),
        Limit("Time of a job", "hub.jobs:MAX_EXECUTION_S", "s", "`job.max_execution_time`"),
        Limit("Reply of a method that a job keeps", "hub.job_runner:_MAX_KEPT_REPLY_BYTES", "bytes", "not kept"),
        Limit("Configurations", "hub.configuration_model:MAX_CONFIGURATIONS", "", "`configuration.too_many`"),
        Limit("Metrics of a configuration", "hub.configuration_model:MAX_METRICS", "", "`configuration.metrics`"),
        Limit("Content of a configuration", "hub.configuration_model:MAX_CONTENT_BYTES", "bytes", "400"),
        Limit("Consumer groups", "hub.consumer_groups:MAX_CONSUMER_GROUPS", "", "`consumer_group.too_many`"),
        Limit("Line of a transfer's file", "hub.lines:MAX_LINE_BYTES", "bytes", "`transfer.line`"),
        Limit("Transfers that are remembered", "hub.transfers:MAX_HISTORY", "", "the oldest go"),
        Limit("Exports read at one time", "api.hub_transfers:_MAX_STREAMS", "", "`transfer.streams`"),
    ],
    "Rules, data exports, jobs of the application": [
        Limit("Rules", "automation.rule_model:MAX_RULES", "", "`rule.too_many`"),
        Limit("Actions of a rule", "automation.rule_model:MAX_ACTIONS", "", "`rule.too_many`"),
        Limit("Conditions of a rule", "automation.rule_model:MAX_CONDITIONS", "", "`rule.too_many`"),
        Limit(
            "Filters of a rule or a data export",
            "automation.filters:MAX_FILTERS",
            "",
            "`rule.too_many`, `export.too_many`",
        ),
        Limit("Users that an e-mail goes to", "automation.rule_model:MAX_RECIPIENTS", "", "`rule.action`"),
        Limit("Events kept of a rule", "automation.rule_model:MAX_HISTORY", "", "the oldest go"),
        Limit("Between web hooks of one rule", "automation.firing:WEBHOOK_PAUSE_S", "s", "they wait, and are one"),
        Limit("Between e-mails of one rule", "automation.firing:EMAIL_PAUSE_S", "s", "they wait, and are one"),
        Limit("Windows of rules that are open", "automation.rules:MAX_WINDOWS", "", "the oldest closes early"),
        Limit("Messages that a rule is tried on", "automation.rule_service:DRY_RUN_MESSAGES", "", "the newest"),
        Limit("Data exports", "automation.exports:MAX_EXPORTS", "", "`export.too_many`"),
        Limit("Destinations of exports", "automation.exports:MAX_DESTINATIONS", "", "`export.too_many`"),
        Limit("Enrichments of an export", "automation.exports:MAX_ENRICHMENTS", "", "`export.too_many`"),
        Limit("Body that an export sends", "automation.exports:MAX_BODY_BYTES", "bytes", "given up, `export.body`"),
        Limit(
            "... made at one time for a destination",
            "automation.export_runner:MAX_COMPOSED_BYTES",
            "bytes",
            "the rest later",
        ),
        Limit("Events that wait to be exported", "automation.export_runner:MAX_EVENTS", "", "the oldest go"),
        Limit("Jobs that run at one time", "automation.job_runner:PLACES", "", "the others wait"),
        Limit("Parts of a job", "automation.jobs:MAX_DATA", "", "`job.data_size`"),
        Limit("Schedules", "automation.jobs:MAX_SCHEDULES", "", "`job.too_many_schedules`"),
        Limit("Runs of a schedule", "automation.jobs:MAX_RUNS", "", "`job.schedule`"),
        Limit("Edge manifests", "automation.manifests:MAX_MANIFESTS", "", "`manifest.too_many`"),
        Limit("Devices in one file of a job's results", "web.jobs:_MAX_CSV_ROWS", "", "the rest is left out"),
    ],
    "Calls that the hub makes": [
        Limit("Address that is called", "adapters.egress:_MAX_URL_CHARS", "characters", "not called"),
        Limit("Addresses of one name that are tried", "adapters.egress:_MAX_ADDRESSES", "", "no more are tried"),
        Limit("Head of an answer", "adapters.egress:_MAX_HEADER_BYTES", "bytes", "`egress.malformed`"),
        Limit("1xx before an answer", "adapters.egress:_MAX_INFORMATIONAL", "", "`egress.malformed`"),
        Limit("Answer of a container", "adapters.containers:_ANSWER_BYTES", "bytes", "`egress.response_size`"),
        Limit("Request to a container, in time", "adapters.containers:_TIMEOUT_S", "s", "`egress.timeout`"),
    ],
    "People": [
        Limit("Password, at least", "accounts.passwords:MIN_CHARACTERS", "characters", "`account.password_length`"),
        Limit("Password, at most", "accounts.passwords:MAX_CHARACTERS", "characters", "`account.password_length`"),
        Limit("Wrong passwords of an address, and of a name", "accounts.throttle:MAX_WRONG", "", "`account.too_many`"),
        Limit("... of a name, from everywhere", "accounts.throttle:MAX_WRONG_BY_STRANGERS", "", "`account.too_many`"),
        Limit("... until one more is taken", "accounts.throttle:REFILL_S", "s", ""),
        Limit("People who sign in at one moment", "accounts.entrance:MAX_HASHES", "", "`account.crowd`"),
        Limit("... who come from a provider", "accounts.single_sign_on:MAX_COMING", "", "`account.crowd`"),
        Limit("Session", "accounts.entrance:SESSION_LIFETIME", "", "signed out"),
        Limit("Session that is not used", "accounts.entrance:SESSION_IDLE", "", "signed out"),
        Limit("Sessions of a user", "accounts.entrance:MAX_SESSIONS", "", "the oldest is signed out"),
        Limit("Users", "accounts.user_rows:MAX_USERS", "", "`account.number`"),
        Limit("Roles of one's own", "accounts.roles:MAX_ROLES", "", "`role.number`"),
        Limit("Characters of a device's name", "fleet.model:MAX_DISPLAY_NAME", "", "`device.display_name`"),
        Limit("Simulated devices", "fleet.service:MAX_SIMULATED", "", "`device.simulated_number`"),
        Limit("... each speaks every", "fleet.simulation:PERIOD_S", "s", ""),
        Limit("... values in one message", "fleet.invention:MAX_VALUES", "", "the rest is left out"),
        Limit(
            "Cloud properties of a device",
            "fleet.service:MAX_CLOUD_PROPERTIES_BYTES",
            "bytes",
            "`device.cloud_properties`",
        ),
        Limit("Devices that one list gives", "fleet.service:MAX_LISTED", "", "`list.limit`"),
        Limit("Device operations at once", "fleet.operations:MAX_AT_ONCE", "", "the others wait"),
        Limit("... that wait", "fleet.operations:MAX_WAITING", "", "`operations.too_many`"),
        Limit("... that are shown once they ended", "fleet.operations:MAX_KEPT", "", "the oldest is forgotten"),
        Limit("... errors that are kept of one", "fleet.operations:MAX_ERRORS", "", "the others are counted"),
        Limit("File of devices", "dialects.device_csv:MAX_BYTES", "bytes", "`form.size`"),
        Limit("... devices in it", "dialects.device_csv:MAX_ROWS", "", "`csv.rows`"),
        Limit("Organizations", "accounts.organizations:MAX_ORGANIZATIONS", "", "`organization.number`"),
        Limit("... levels of them", "accounts.organizations:MAX_DEPTH", "", "`organization.depth`"),
        Limit("API tokens", "accounts.tokens:MAX_TOKENS", "", "`api_token.number`"),
        Limit("... life of one, unless told", "accounts.tokens:LIFETIME", "", "`api_token.expired`"),
        Limit("... life of one, at most", "accounts.tokens:MAX_LIFETIME", "", "`api_token.expiry`"),
        Limit("Entries of the audit log", "adapters.audit_file:MAX_ENTRIES", "", "the oldest go"),
        Limit("... in one file", "accounts.audit:MAX_EXPORTED", "", "no more"),
        Limit("Calls of the application's REST API: page of a list", "api.calls:MAX_PAGE", "", "as many"),
        Limit(
            "... entries of an array of objects in a body, of our own",
            "dialects.members:MAX_OBJECTS",
            "",
            "`body.member`",
        ),
        Limit("... file of devices", "dialects.device_csv:MAX_BYTES", "bytes", "413"),
        Limit("... devices that are looked at for one page", "api.central.devices:MAX_LOOKED_AT", "", "the page ends"),
        Limit("... devices that are sorted", "api.central.devices:MAX_SORTED", "", "`odata.orderby`"),
        Limit("... filter of a list", "dialects.odata:MAX_FILTER_CHARS", "characters", "`odata.filter`"),
        Limit("Request without TLS", "servers.web_door:MAX_HEAD_BYTES", "bytes", "400"),
        Limit("... address of it that is led on", "servers.web_door:MAX_TARGET", "bytes", "leads to `/`"),
        Limit("Form, with its file", "web.pages:MAX_FORM_BYTES", "bytes", "`form.size`"),
        Limit("... of somebody who is not signed in", "web.pages:MAX_STRANGERS_FORM_BYTES", "bytes", "`form.size`"),
        Limit("Body of a message on a page", "web.data_rows:MAX_SHOWN", "bytes", "cut, with a link to all of it"),
        Limit("Bodies on one page of raw data", "web.device_data:_MOST_BYTES", "bytes", "the rest on the next page"),
        Limit("Pages that follow devices, of each kind", "web.live:MAX_LIVE_PAGES", "", "`telemetry.followers`"),
        Limit("... of one user", "web.live:MAX_LIVE_PAGES_OF_ONE", "", "`telemetry.followers`"),
        Limit("Name of a device connection group", "web.groups:_MAX_NAME", "characters", "`form.name`"),
        Limit(
            "Certificate sightings waiting to be written", "fleet.sightings:_MAX_WAITING", "", "heard of again later"
        ),
        Limit("... that are remembered", "fleet.sightings:_MAX_REMEMBERED", "", "looked up at each connection"),
        Limit("CAs in the drawing of a supply chain", "fleet.supply_chain:_MAX_NODES", "", "left out, and it says so"),
        Limit("Events of a calendar feed", "web.forecast:_EVENTS", "", "the first to come"),
        Limit("Lines of charts that a page asks for", "web.tiles:MAX_LINES", "", "as many"),
        Limit("Runs of commands that are kept of a device", "fleet.commands:MAX_RUNS_KEPT", "", "the oldest goes"),
        Limit("How long a command waits for its device", "fleet.commands:QUEUED_FOR", "", "it expires"),
        Limit("Mapped aliases of a device", "fleet.aliases:MAX_ALIASES", "", "`alias.too_many`"),
        Limit("... their names", "fleet.aliases:MAX_ALIAS_CHARS", "characters", "`alias.name`"),
        Limit("... their paths", "fleet.aliases:MAX_PATH_CHARS", "characters", "`alias.path`"),
        Limit("Sessions told of a device", "hub.session_log:MAX_ENTRIES_OF_DEVICE", "", "the oldest goes"),
        Limit("... of all devices", "hub.session_log:MAX_ENTRIES", "", "the oldest goes"),
    ],
    "Queries": [
        Limit("Query", "query.lexer:MAX_CHARS", "characters", "`query.size`"),
        Limit("Words of a query", "query.lexer:MAX_TOKENS", "", "`query.size`"),
        Limit("Nesting of a query", "query.parser:MAX_DEPTH", "", "`query.depth`"),
        Limit("Groups of a query", "query.aggregates:MAX_GROUPS", "", "`query.groups`"),
        Limit("Page of a query, in time", "hub.queries:PAGE_S", "s", "the page ends, and goes on"),
        Limit("Query that counts, in time", "hub.queries:AGGREGATE_S", "s", "`query.time`"),
    ],
    "What is written down": [
        Limit("Attempts kept in detail", "attempts_kept", "", "the oldest go, first of who has most"),
        Limit("Refused attempts of one address in detail", "attempts.recorder:_PER_ADDRESS", "a second", "counted"),
        Limit("... under one name", "attempts.recorder:_PER_CLAIM", "a second", "counted"),
        Limit("... of all", "attempts.recorder:_PER_SECOND", "a second", "counted"),
        Limit("Accepted attempts in detail", "attempts.recorder:_ACCEPTED_PER_SECOND", "a second", "counted"),
        Limit("Lines of the log on refused attempts", "attempts.recorder:_TOLD_PER_SECOND", "a second", "counted"),
        Limit("Telemetry, in time", "retention_days", "days", "the oldest segments go"),
        Limit("Telemetry, in bytes (0 is no limit)", "retention_bytes", "bytes", "the oldest segments go"),
        Limit("Events of the hub that the log does not take", "hub.notifier:MAX_WAITING", "", "the oldest go"),
        Limit("Message routes", "hub.routing_model:MAX_ROUTES", "", "`route.too_many`"),
        Limit("Condition of a route", "hub.routing_model:MAX_CONDITION_CHARS", "characters", "`route.condition_size`"),
        Limit("Endpoints of routes", "hub.routing_model:MAX_ENDPOINTS", "", "`endpoint.too_many`"),
        Limit("Enrichments", "hub.routing_model:MAX_ENRICHMENTS", "", "`enrichment.too_many`"),
        Limit("Dead letters of an endpoint", "hub.routing_model:MAX_DEAD_LETTERS", "", "the oldest goes"),
        Limit(
            "Record of Kafka",
            "adapters.endpoints.kafka:MAX_RECORD_BYTES",
            "bytes",
            "`endpoint.refused`, as at the topic's own limit",
        ),
        Limit("Delivery to Kafka", "adapters.endpoints.kafka:_DELIVERY_S", "s", "tried again"),
        Limit(
            "Request to a web hook of a route",
            "adapters.endpoints.webhook:MAX_REQUEST_BYTES",
            "bytes",
            "the rest in the next",
        ),
        Limit(
            "Feedback that nobody fetches, and file notifications", "hub.held_queue:MAX_WAITING", "", "the oldest goes"
        ),
    ],
    "Telemetry in charts, groups and dashboards": [
        Limit("Values of one message", "dialects.telemetry_values:MAX_LEAVES", "", "are in the raw data alone"),
        Limit("... how deep in its body", "dialects.telemetry_values:MAX_DEPTH", "", "are in the raw data alone"),
        Limit("Characters of a text that is kept as last value", "dialects.telemetry_values:MAX_TEXT", "", "it is cut"),
        Limit(
            "Different names that a device may send",
            "analytics.projector:MAX_NAMES_OF_DEVICE",
            "",
            "not kept, `moorage_series_left_out_values`",
        ),
        Limit("... and all together", "analytics.projector:MAX_NAMES", "", "as above"),
        Limit("Devices that a question is about", "analytics.series:MAX_DEVICES", "", "refused, `series.devices`"),
        Limit("Steps of a line", "analytics.series:MAX_BUCKETS", "", "refused, `series.range`"),
        Limit("Names in the data explorer", "analytics.explorer:MAX_MEASURES", "", "refused, `explorer.question`"),
        Limit("... lines that are drawn", "analytics.explorer:MAX_LINES", "", "the first are shown"),
        Limit("Rows that a query answers with", "analytics.query:MAX_ROWS", "", "the first are"),
        Limit("... devices that it looks at", "analytics.query:MAX_ASKED", "", "refused, `query.rows`"),
        Limit("... messages that it reads", "analytics.query:MAX_READ", "", "refused, `query.rows`"),
        Limit("Device groups", "fleet.limits:MAX_GROUPS", "", "refused, `device_group.number`"),
        Limit("... conditions of one", "fleet.group_query:MAX_CONDITIONS", "", "refused, `query.conditions`"),
        Limit("... devices that a page looks at for one", "fleet.groups:LOOKED_AT", "", "the page says so"),
        Limit("Dashboards, and saved queries", "analytics.boards:MAX_BOARDS", "", "refused, `board.number`"),
        Limit("... tiles of one", "analytics.boards:MAX_TILES", "", "refused, `dashboard.tiles`"),
        Limit("... devices of a tile", "analytics.boards:MAX_DEVICES_OF_TILE", "", "the first of a group are shown"),
        Limit("... a picture", "analytics.boards:MAX_IMAGE_BYTES", "bytes", "refused, `image.size`"),
        Limit("... pictures of all", "analytics.boards:MAX_IMAGES", "", "refused, `image.size`"),
    ],
}


def limits_page(note: str) -> str:
    """The whole page; `note` says who made it."""
    lines = [
        "# Limits",
        "",
        note,
        "",
        "What somebody else can make a hub keep, read, count or wait for has an end. The names in code style are",
        "[settings](settings.md), which can be changed, or the constant in the code, which cannot.",
        "",
    ]
    for area, limits in LIMITS.items():
        lines += [f"## {area}", "", "| What | Limit | Beyond it | Set by |", "|---|---|---|---|"]
        lines += [f"| {each.what} | {_value(each)} | {each.beyond} | `{each.place}` |" for each in limits]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _value(limit: Limit) -> str:
    number = _number(limit.place)
    if isinstance(number, timedelta):
        return " ".join(_spans(number))
    if limit.unit == "bytes" and number and number % 1024 == 0:
        return f"{number // 1024:,} KiB" if number % 1024**2 else f"{number // 1024**2:,} MiB"
    return f"{number:,} {limit.unit}".strip()


def _number(place: str) -> int | timedelta:
    module, colon, name = place.partition(":")
    if not colon:
        (setting,) = (each for each in SETTINGS if each.name == place)
        return _whole(setting.default)
    owner = import_module(f"moorage.{module}")
    name, bracket, key = name.partition("[")
    for part in name.split("."):
        owner = getattr(owner, part)
    value = owner[key.rstrip("]")] if bracket else owner
    return _whole(value)


def _whole(value: int | float | timedelta) -> int | timedelta:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _spans(span: timedelta) -> Iterator[str]:
    if span.days:
        yield f"{span.days} d"
    for unit, seconds in (("h", 3600), ("min", 60), ("s", 1)):
        count = span.seconds // seconds % (24 if unit == "h" else 60)
        if count:
            yield f"{count} {unit}"
