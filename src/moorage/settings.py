"""Every setting in one table.

`SETTINGS` is the only list: flags of `moorage up`, `MOORAGE_...` variables, keys of `moorage.toml` in the data folder
and docs/reference/settings.md are all read from it. What somebody gave is judged in `config.py`, by `Setting.kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["EVENT_SOURCES", "LEVELS", "MAIL_SECURITIES", "PREFIX", "SETTINGS", "Kind", "Setting"]

Kind = Literal[
    "folder",
    "file",
    "directory",
    "store",
    "names",
    "networks",
    "brokers",
    "events",
    "address",
    "port",
    "count",
    "seconds",
    "yes/no",
    "level",
    "host",
    "text",
    "mail security",
    "issuer",
    "claims",
]

# Of the variables in the environment.
PREFIX = "MOORAGE_"
LEVELS = ("auto", "info", "warning")
MAIL_SECURITIES = ("starttls", "tls", "none")
# What a hub can tell of besides what devices send (contract/services.md 4.7).
EVENT_SOURCES = (
    "twinChangeEvents",
    "deviceLifecycleEvents",
    "deviceConnectionStateEvents",
    "digitalTwinChangeEvents",
    "deviceJobLifecycleEvents",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the table. `least` and `most` bound numbers, both included. `flag_name` where it is not `name`."""

    name: str
    kind: Kind
    default: str | int | float | bool | None
    unit: str
    sentence: str
    least: int | float = 0
    most: int | float = 0
    flag_name: str = ""

    @property
    def flag(self) -> str:
        return "--" + (self.flag_name or self.name).replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + (self.flag_name or self.name).upper()

    @property
    def is_repeatable(self) -> bool:
        return self.kind in ("names", "networks", "brokers", "events", "claims")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "data",
        "folder",
        None,
        "",
        "Where everything is kept: keys, registry, telemetry. Made with mode 0700. Default: `moorage` in the XDG data "
        "home. Not read from the settings file, which lies in it.",
    ),
    Setting(
        "hostnames",
        "names",
        "localhost",
        "",
        "Names and addresses that clients know the hub by; the server certificate carries all of them and the first is "
        "what devices are assigned to. The C and Java SDKs want a name with a dot. With none given, and an address of "
        "its own to listen on (127.0.0.2, 192.168.0.7), that address is the name.",
        flag_name="hostname",
    ),
    Setting(
        "bind",
        "address",
        None,
        "",
        "Address to listen on. Default: 127.0.0.1, or 0.0.0.0 once a host name other than localhost is given.",
    ),
    Setting(
        "mqtt_port",
        "port",
        8883,
        "",
        "MQTT over TLS, for devices; 0 chooses a free one and tells. Most SDKs cannot be told another port than 8883.",
        most=65535,
    ),
    Setting(
        "https_port",
        "port",
        443,
        "",
        "HTTPS, for the service APIs and devices; 0 chooses a free one and tells. Where nothing is said and 443 is not "
        "permitted 8443 is taken, which Node's service SDK cannot be told.",
        most=65535,
    ),
    Setting(
        "amqp_port",
        "port",
        5671,
        "",
        "AMQP over TLS, for devices, services and readers of telemetry; 0 chooses a free one and tells. Most SDKs "
        "cannot be told another port than 5671.",
        most=65535,
    ),
    Setting(
        "amqp_plain_port",
        "port",
        5672,
        "",
        "AMQP without TLS, on loopback alone: what Event Hubs clients look for with UseDevelopmentEmulator=true; 0 for "
        "none. Where nothing is said and the port is taken there is none.",
        most=65535,
    ),
    Setting(
        "web_port",
        "port",
        8080,
        "",
        "The application for people, over TLS; 0 for none. Where nothing is said and the port is taken there is none.",
        most=65535,
    ),
    Setting(
        "partitions",
        "count",
        4,
        "partitions",
        "Partitions of the telemetry log; a device always writes to the same one. Fixed when the data folder is made.",
        least=1,
        most=128,
    ),
    Setting(
        "retention_days",
        "count",
        7,
        "days",
        "How long telemetry is kept.",
        least=1,
        most=3650,
    ),
    Setting(
        "retention_bytes",
        "count",
        20 * 1024**3,
        "bytes",
        "How large the telemetry log may grow before its oldest segments are removed; 0 sets no limit.",
        most=2**63 - 1,
    ),
    Setting(
        "segment_bytes",
        "count",
        64 * 1024**2,
        "bytes",
        "How large one file of the telemetry log grows. Retention removes whole files.",
        least=1024**2,
        most=4 * 1024**3,
    ),
    Setting(
        "linger_ms",
        "count",
        0,
        "milliseconds",
        "How long a batch of telemetry waits for company before it is synced to disk: less CPU for more delay.",
        most=100,
    ),
    Setting(
        "attempts_kept",
        "count",
        20_000,
        "attempts",
        "How many attempts to get in are kept with full detail for `moorage explain`.",
        least=100,
        most=10_000_000,
    ),
    Setting(
        "audit_days",
        "count",
        365,
        "days",
        "How long the audit log keeps who did what; signing in and out included.",
        least=1,
        most=3_650,
    ),
    Setting(
        "max_connections",
        "count",
        50_000,
        "connections",
        "Open connections at one time, on each port. Beyond it a stranger has to go, or else the newcomer.",
        least=1,
        most=1_000_000,
    ),
    Setting(
        "max_connections_per_address",
        "count",
        25_000,
        "connections",
        "Of them, from one address (of IPv6, from one /64). The addresses of one /24 (/48) have three quarters of all "
        "together, so that neither can keep everybody else out; where all devices come from one address, set it to "
        "`max_connections`.",
        least=1,
        most=1_000_000,
    ),
    Setting(
        "max_strangers",
        "count",
        8_192,
        "connections",
        "Of them, such of peers that were not let in yet: in their handshake, waiting for it, or with nothing to show "
        "so far. Beyond it the oldest goes of the network and address that have most.",
        least=1,
        most=1_000_000,
    ),
    Setting(
        "handshake_timeout_s",
        "seconds",
        20.0,
        "seconds",
        "How long a TLS handshake may take.",
        least=0.1,
        most=300,
    ),
    Setting(
        "shutdown_grace_s",
        "seconds",
        5.0,
        "seconds",
        "How long connections get to finish when the hub is told to stop.",
        most=300,
    ),
    Setting(
        "jobs_at_once",
        "count",
        10,
        "jobs",
        "How many jobs run at one time; the others wait for their turn.",
        least=1,
        most=100,
    ),
    Setting(
        "job_history_days",
        "count",
        30,
        "days",
        "How long a job that ended is kept, with what became of each of its devices.",
        least=1,
        most=3650,
    ),
    Setting(
        "vouched_certificates",
        "yes/no",
        True,
        "",
        "Whether a group's signing certificate counts as proven when a credential with the right to write enrollments "
        "uploads it, as in Azure. With `no` every signing certificate needs proof of possession.",
    ),
    Setting(
        "max_enrollments",
        "count",
        1_000_000,
        "enrollments",
        "How many individual enrollments there may be.",
        least=1,
        most=100_000_000,
    ),
    Setting(
        "max_enrollment_groups",
        "count",
        500,
        "groups",
        "How many enrollment groups there may be; all of them are tried for a device that provisions with a key.",
        least=1,
        most=10_000,
    ),
    Setting(
        "egress_allow",
        "networks",
        None,
        "",
        "Networks (10.0.0.0/8), addresses and host names that the hub may call beside the public Internet, also "
        "without TLS: for web hooks of rules, data exports, routes and allocation, for containers of import and "
        "export, and for linked hubs. Default: none.",
    ),
    Setting(
        "egress_ca_bundle",
        "file",
        None,
        "",
        "PEM file of CAs that the hub trusts, beside the system's, where it calls out. Default: none.",
    ),
    Setting(
        "kafka_brokers",
        "brokers",
        None,
        "",
        "Kafka brokers that message routes may send to, as host or host:port; *.kafka.example is every name below it. "
        "Brokers name further brokers, so all of a cluster have to be among them. Who is named may also be spoken to "
        "without TLS. Default: none, and no Kafka endpoint is taken.",
    ),
    Setting(
        "transfer_folder",
        "directory",
        None,
        "",
        "Folder below which import and export jobs may read and write files, named as file:///folder; what lies there "
        "can be read and written by whoever may write the registry. Default: none, and no file is taken.",
    ),
    Setting(
        "model_folder",
        "directory",
        None,
        "",
        "Folder of device models in DTDL, by the path convention (dtmi/com/example/thermostat-1.json): a device that "
        "announces one of them gets a template made of it. Default: none, and only the models of the SDK samples, "
        "which come along, are known.",
    ),
    Setting(
        "oidc_issuer",
        "issuer",
        None,
        "",
        "Address of the OpenID Connect provider that people may sign in through, as it calls itself. Default: none.",
    ),
    Setting("oidc_client_id", "text", None, "", "What the provider calls this application."),
    Setting(
        "oidc_client_secret_file",
        "file",
        None,
        "",
        "File whose first line is this application's secret at the provider. Default: none, for a public client.",
    ),
    Setting(
        "oidc_roles",
        "claims",
        None,
        "",
        "Who gets which role, by what the provider says of them: `claim:value=role`, with `@organization` behind it "
        "for a role of one; the value `*` is any, and the first that fits holds. Default: none, and people have the "
        "role that they were assigned in the application.",
    ),
    Setting(
        "smtp_host",
        "host",
        None,
        "",
        "Mail server that e-mails of rules go through. Default: none, and no e-mail is sent.",
    ),
    Setting("smtp_port", "port", 587, "", "Port of the mail server.", least=1, most=65535),
    Setting(
        "smtp_security",
        "mail security",
        "starttls",
        "",
        "How the connection to the mail server is protected: `starttls` begins it in the clear and then asks for TLS, "
        "`tls` begins with TLS (port 465 as a rule), `none` is for a mail server on this machine.",
    ),
    Setting(
        "smtp_user", "text", None, "", "Name to sign in to the mail server with. Default: none, and nobody signs in."
    ),
    Setting(
        "smtp_password_file",
        "file",
        None,
        "",
        "File whose first line is the password for the mail server. Default: none.",
    ),
    Setting(
        "smtp_from",
        "text",
        None,
        "",
        "Address that e-mails of rules come from. Default: moorage@ and the first host name.",
    ),
    Setting(
        "upload_store",
        "store",
        None,
        "",
        "Where files go that devices upload: file:///FOLDER, s3://BUCKET, gs://BUCKET or az://CONTAINER, a prefix "
        "behind it if you like. Credentials are in the environment, under the names that the service's own tools have "
        "for them. Default: `uploads` in the data folder.",
    ),
    Setting(
        "upload_max_mb",
        "count",
        1024,
        "MiB",
        "How large a file may be that a device uploads.",
        least=1,
        most=1024 * 1024,
    ),
    Setting(
        "upload_waiting_max_mb",
        "count",
        4096,
        "MiB",
        "How much of the data folder's disk files may take together that are being uploaded.",
        least=1,
        most=16 * 1024 * 1024,
    ),
    Setting(
        "upload_lifetime_minutes",
        "count",
        60,
        "minutes",
        "How long a device may take for an upload: what it was begun with opens nothing any more after that.",
        least=1,
        most=2880,
    ),
    Setting(
        "throttle_registrations_per_minute",
        "count",
        60_000,
        "registrations",
        "How many registrations of devices the provisioning service takes in a minute, of all devices together, before "
        "it answers 429; 0 sets no limit.",
        most=10_000_000,
    ),
    Setting(
        "throttle_polls_per_minute",
        "count",
        600,
        "requests",
        "How often one device may ask in a minute what became of its registration; 0 sets no limit.",
        most=1_000_000,
    ),
    Setting(
        "throttle_enrollments_per_minute",
        "count",
        60_000,
        "operations",
        "How many operations on enrollments and registrations the provisioning service takes in a minute before it "
        "answers 429; 0 sets no limit. The owner is not limited.",
        most=10_000_000,
    ),
    *(
        Setting(
            f"throttle_{group}_per_{period}",
            "count",
            0,
            f"a {period}",
            f"How many {what} the service APIs take in a {period} before they answer 429; 0 sets no limit. The owner "
            "is not limited.",
            most=10_000_000,
        )
        for group, period, what in (
            ("registry", "minute", "registry operations"),
            ("queries", "minute", "queries"),
            ("twin_reads", "second", "reads of twins"),
            ("twin_updates", "second", "writes of twins"),
            ("methods", "second", "method calls"),
            ("messages", "minute", "operations on cloud-to-device messages and their feedback"),
            ("configurations", "minute", "operations on configurations"),
            ("jobs", "minute", "operations on jobs"),
        )
    ),
    Setting(
        "throttle_central_per_second",
        "count",
        0,
        "a second",
        "How many calls of the application's REST API (`/api`) one API token may make in a second before it hears 429; "
        "0 sets no limit. The owner is not limited.",
        most=1_000_000,
    ),
    Setting(
        "strict_limits",
        "yes/no",
        False,
        "",
        "Whether IoT Central's limits hold, so that a test finds what would break there: 200,000 devices, 300 "
        "capabilities of a template, 500 device groups. With `yes` some throttles have its rates, too, unless you set "
        "them: 20 calls of the application's REST API and 20 method calls a second, 100 writes of twins a second, 200 "
        "registrations a minute.",
    ),
    Setting(
        "hub_events",
        "events",
        "twinChangeEvents",
        "",
        "Events of the hub itself that go into the telemetry log beside what devices send: `twinChangeEvents`, "
        "`deviceLifecycleEvents`, `deviceConnectionStateEvents`, `digitalTwinChangeEvents`, "
        "`deviceJobLifecycleEvents`, `all` or `none`. A route that asks for a source switches it on, "
        "`moorage telemetry sources` either way.",
        flag_name="hub_event",
    ),
    Setting(
        "log",
        "level",
        "auto",
        "",
        "What is written to standard error: `info` has a line for each change of the registry and for refused devices, "
        "`warning` only what somebody should look at; `auto` is `warning` on a terminal and `info` elsewhere.",
    ),
)
