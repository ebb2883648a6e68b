"""Every setting in one table, and what a running hub tells about itself.

`SETTINGS` is the only list: flags of `moorage up`, `MOORAGE_...` variables, keys of `moorage.toml` in the data folder
and docs/reference/settings.md are all read from it. A flag wins over the environment, that over the file, that over the
default. `load_config` is the door through which outside text becomes a `Config`; it raises `Invalid` naming the setting
and where its value came from (`config.value`, `config.unknown`, `config.file`, `config.not_permitted`).
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from moorage.errors import Invalid

__all__ = [
    "CA_BUNDLE",
    "EVENT_SOURCES",
    "HTTPS_FALLBACK_PORT",
    "LEVELS",
    "MAIL_SECURITIES",
    "OWNER_KEY",
    "SETTINGS",
    "SETTINGS_FILE",
    "SIGN_IN_LINK",
    "Config",
    "Setting",
    "default_data_folder",
    "is_loopback",
    "load_config",
    "misspelt_variables",
]

# Names inside the data folder that more than one part has to agree on.
CA_BUNDLE = "ca-bundle.pem"
OWNER_KEY = "owner.key"
SETTINGS_FILE = "moorage.toml"
SIGN_IN_LINK = "sign-in-link"

# Taken when `https_port` is 443 and the machine does not let us have it.
HTTPS_FALLBACK_PORT = 8443

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

_PREFIX = "MOORAGE_"
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

# Read by the command line; they are no settings of a hub.
_OTHER_VARIABLES = frozenset({"MOORAGE_KEY_PASSWORD", "MOORAGE_PFX_PASSWORD"})

# Addresses that `localhost` stands for, or that stand for every address.
_ANYWHERE = ("127.0.0.1", "::1", "0.0.0.0", "::")
# RFC 1123 names; an address is allowed too. contract/devices.md 1.2: C# takes letters, digits, `_ - .` and no port.
# No user name, query or fragment, in which somebody might put a secret.
_STORE = re.compile(r"(?:file:///|(?:s3|gs|az)://[A-Za-z0-9])[^\s@?#]*")
_BROKER = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<host>[^\s:/@\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_ISSUER = re.compile(r"https://[A-Za-z0-9._\-\[\]:]+(?:/[A-Za-z0-9._~\-/%]*)?")
_CLAIM = re.compile(r"[^\s:=]{1,100}:[^=]{1,200}=[A-Za-z0-9-]{1,64}(?:@[a-z0-9-]{2,48})?")
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


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
        return _PREFIX + (self.flag_name or self.name).upper()

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

# What `strict_limits` sets where nobody says otherwise (central.md LIM-4 to LIM-7).
_STRICT_RATES = {
    "throttle_central_per_second": 20,
    "throttle_methods_per_second": 20,
    "throttle_twin_updates_per_second": 100,
    "throttle_registrations_per_minute": 200,
}
_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one hub, checked; made by `load_config`. `SETTINGS` says what each means."""

    data: Path
    hostnames: tuple[str, ...]
    bind: str
    mqtt_port: int
    https_port: int
    amqp_port: int
    amqp_plain_port: int
    web_port: int
    partitions: int
    retention_days: int
    retention_bytes: int
    segment_bytes: int
    linger_ms: int
    attempts_kept: int
    audit_days: int
    max_connections: int
    max_connections_per_address: int
    max_strangers: int
    handshake_timeout_s: float
    shutdown_grace_s: float
    jobs_at_once: int
    job_history_days: int
    vouched_certificates: bool
    max_enrollments: int
    max_enrollment_groups: int
    egress_allow: tuple[str, ...]
    egress_ca_bundle: Path | None
    kafka_brokers: tuple[str, ...]
    transfer_folder: Path | None
    model_folder: Path | None
    oidc_issuer: str | None
    oidc_client_id: str | None
    oidc_client_secret_file: Path | None
    oidc_roles: tuple[str, ...]
    smtp_host: str | None
    smtp_port: int
    smtp_security: str
    smtp_user: str | None
    smtp_password_file: Path | None
    smtp_from: str | None
    upload_store: str | None
    upload_max_mb: int
    upload_waiting_max_mb: int
    upload_lifetime_minutes: int
    throttle_registrations_per_minute: int
    throttle_polls_per_minute: int
    throttle_enrollments_per_minute: int
    throttle_registry_per_minute: int
    throttle_queries_per_minute: int
    throttle_twin_reads_per_second: int
    throttle_twin_updates_per_second: int
    throttle_methods_per_second: int
    throttle_messages_per_minute: int
    throttle_configurations_per_minute: int
    throttle_jobs_per_minute: int
    throttle_central_per_second: int
    strict_limits: bool
    hub_events: tuple[str, ...]
    log: str
    # Settings that somebody chose, by name: a wish is not replaced by something else.
    chosen: frozenset[str] = frozenset()

    @property
    def hostname(self) -> str:
        """The name devices are assigned to."""
        return self.hostnames[0]


def default_data_folder(environ: Mapping[str, str]) -> Path:
    """`MOORAGE_DATA`, else `moorage` in the XDG data home."""
    if chosen := environ.get("MOORAGE_DATA"):
        return Path(chosen).expanduser()
    home = environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(home).expanduser() / "moorage"


def load_config(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Settings from `flags` (by setting name; None is "not given"), `environ`, the settings file and the defaults.

    Raises `Invalid`: `config.value` (a value out of its bounds), `config.unknown` (a key that is no setting),
    `config.file` (the settings file cannot be read), `config.not_permitted` (not by this user, or not its folder).
    """
    given: dict[str, tuple[Any, str]] = {
        setting.name: (setting.default, "default") for setting in SETTINGS if setting.default is not None
    }
    data = flags.get("data")
    folder = Path(data).expanduser() if data else default_data_folder(environ)
    for name, value in _settings_file(folder / SETTINGS_FILE).items():
        given[name] = (value, f"{SETTINGS_FILE} in {folder}")
    for setting in SETTINGS:
        if (text := environ.get(setting.variable)) is not None:
            given[setting.name] = (text, setting.variable)
        flag = flags.get(setting.name)
        if flag is not None and flag != ():
            given[setting.name] = (flag, setting.flag)
    given.pop("data", None)

    values: dict[str, Any] = {}
    for name, (value, source) in given.items():
        values[name] = _checked(_BY_NAME[name], value, source)
    # Nobody has to say anything for these.
    values.setdefault("egress_allow", ())
    values.setdefault("egress_ca_bundle", None)
    values.setdefault("kafka_brokers", ())
    values.setdefault("oidc_roles", ())
    for name in ("oidc_issuer", "oidc_client_id", "oidc_client_secret_file"):
        values.setdefault(name, None)
    if (values["oidc_issuer"] is None) is not (values["oidc_client_id"] is None):
        raise Invalid("config.value", "oidc_issuer and oidc_client_id come together")
    values.setdefault("transfer_folder", None)
    values.setdefault("model_folder", None)
    for name in ("upload_store", "smtp_host", "smtp_user", "smtp_password_file", "smtp_from"):
        values.setdefault(name, None)
    if given["hostnames"][1] == "default" and values.get("bind", "127.0.0.1") not in _ANYWHERE:
        # `localhost` leads to another address than the one it listens on.
        values["hostnames"] = (values["bind"],)
    if "bind" not in values:
        values["bind"] = "127.0.0.1" if all(map(is_loopback, values["hostnames"])) else "0.0.0.0"
    chosen = frozenset(name for name, (_, source) in given.items() if source != "default")
    if values["strict_limits"]:
        values |= {name: rate for name, rate in _STRICT_RATES.items() if name not in chosen}
    return Config(data=folder.absolute(), chosen=chosen, **values)


def misspelt_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """`MOORAGE_...` variables that are no setting, but nearly: what each was probably meant to be."""
    variables = [setting.variable for setting in SETTINGS]
    meant: dict[str, str] = {}
    for name in sorted(environ):
        if not name.startswith(_PREFIX) or name in variables or name in _OTHER_VARIABLES:
            continue
        # Without what all of them begin with, which would make any two of them alike.
        near = get_close_matches(
            name.removeprefix(_PREFIX), [each.removeprefix(_PREFIX) for each in variables], n=1, cutoff=0.8
        )
        if near:
            meant[name] = _PREFIX + near[0]
    return meant


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine alone: `localhost`, below `.localhost` (RFC 6761), 127/8 or ::1."""
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _settings_file(path: Path) -> dict[str, Any]:
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return {}
    except PermissionError as error:
        closed = path if _is_reachable(path) else f"the data folder {path.parent}"
        raise Invalid(
            "config.not_permitted",
            f"{closed} cannot be read by this user",
            fix="run it as the user the folder belongs to, or on a folder of your own: moorage up --data DIR",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("config.file", f"{path} cannot be read: {error}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(
            "config.file", f"{path} is not TOML: {error}", fix="settings are lines of NAME = VALUE"
        ) from error
    for name in values:
        if name == "data":
            raise Invalid("config.unknown", f"{path} cannot say where it lies itself", fix="use --data or MOORAGE_DATA")
        if name not in _BY_NAME:
            near = get_close_matches(name, _BY_NAME, n=1)
            fix = f"did you mean {near[0]}?" if near else "docs/reference/settings.md lists every setting"
            raise Invalid("config.unknown", f"{path} sets {name!r}, which is no setting", fix=fix)
    return values


def _is_reachable(path: Path) -> bool:
    try:
        path.stat()
    except PermissionError:
        return False
    return True


def _checked(setting: Setting, value: Any, source: str) -> Any:
    match setting.kind:
        case "names":
            return _names(setting, value, source)
        case "networks":
            return _networks(setting, value, source)
        case "brokers":
            return _brokers(setting, value, source)
        case "events":
            return _events(setting, value, source)
        case "file":
            return _file(setting, value, source)
        case "directory":
            return _directory(setting, value, source)
        case "store":
            return _store(setting, value, source)
        case "address":
            try:
                return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
            except ValueError:
                raise _wrong(setting, value, source, "an IP address such as 0.0.0.0") from None
        case "yes/no":
            return _yes_or_no(setting, value, source)
        case "level":
            level = value.strip().lower() if isinstance(value, str) else ""
            if level not in LEVELS:
                raise _wrong(setting, value, source, f"one of {', '.join(LEVELS)}")
            return level
        case "host":
            host = value.strip().lower().rstrip(".") if isinstance(value, str) else ""
            if not _is_host(host):
                raise _wrong(setting, value, source, "a host name or an address, without scheme or port")
            return host
        case "text":
            if not isinstance(value, str) or not value.strip() or len(value) > 256 or not value.isprintable():
                raise _wrong(setting, value, source, "a text of 1 to 256 characters on one line")
            return value.strip()
        case "mail security":
            security = value.strip().lower() if isinstance(value, str) else ""
            if security not in MAIL_SECURITIES:
                raise _wrong(setting, value, source, f"one of {', '.join(MAIL_SECURITIES)}")
            return security
        case "issuer":
            return _issuer(setting, value, source)
        case "claims":
            return _claims(setting, value, source)
        case "seconds":
            return _number(setting, value, source, float)
        case _:
            return _number(setting, value, source, int)


def _names(setting: Setting, value: Any, source: str) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    names: list[str] = []
    for part in parts:
        name = part.strip().lower().rstrip(".") if isinstance(part, str) else ""
        if not _is_host(name):
            raise _wrong(setting, part, source, "a host name or an address, without scheme or port")
        if name not in names:
            names.append(name)
    if not names:
        raise _wrong(setting, value, source, "at least one host name")
    return tuple(names)


def _networks(setting: Setting, value: Any, source: str) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    entries: list[str] = []
    for part in parts:
        entry = part.strip().lower().rstrip(".") if isinstance(part, str) else ""
        if not entry and isinstance(value, str):
            continue
        if not (_is_network(entry) or _is_host(entry)):
            raise _wrong(setting, part, source, "a network such as 10.0.0.0/8, an address or a host name")
        if entry not in entries:
            entries.append(entry)
    return tuple(entries)


def _brokers(setting: Setting, value: Any, source: str) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    entries: list[str] = []
    for part in parts:
        entry = part.strip().lower() if isinstance(part, str) else ""
        if not entry and isinstance(value, str):
            continue
        if not _is_broker(entry):
            raise _wrong(setting, part, source, "a host, host:port or *.example.com, without a scheme")
        if entry not in entries:
            entries.append(entry)
    return tuple(entries)


def _issuer(setting: Setting, value: Any, source: str) -> str:
    """OpenID Connect Discovery 3: https, a host, perhaps a port and a path, and nothing else."""
    text = value.strip() if isinstance(value, str) else ""
    if not _ISSUER.fullmatch(text) or len(text) > 500:
        raise _wrong(setting, value, source, "an address such as https://login.example.com/tenant")
    return text


def _claims(setting: Setting, value: Any, source: str) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    entries: list[str] = []
    for part in parts:
        entry = part.strip() if isinstance(part, str) else ""
        if not entry and isinstance(value, str):
            continue
        if not _CLAIM.fullmatch(entry):
            raise _wrong(setting, part, source, "claim:value=role, such as groups:plant-admins=administrator")
        entries.append(entry)
    return tuple(entries)


def _is_broker(entry: str) -> bool:
    """`host`, `host:9092` or `[::1]:9092`; the host may begin with `*.`."""
    found = _BROKER.fullmatch(entry)
    if found is None or not 1 <= int(found["port"] or 1) <= 65535:
        return False
    return _is_host(found["six"] or found["host"].removeprefix("*.").rstrip("."))


def _events(setting: Setting, value: Any, source: str) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value) if isinstance(value, (list, tuple)) else [value]
    given = [part.strip().lower() if isinstance(part, str) else "" for part in parts]
    if given == ["none"]:
        return ()
    if given == ["all"]:
        return EVENT_SOURCES
    known = {event.lower(): event for event in EVENT_SOURCES}
    for part, event in zip(parts, given, strict=True):
        if event not in known:
            raise _wrong(setting, part, source, f"all, none, or of {', '.join(EVENT_SOURCES)}")
    return tuple(dict.fromkeys(known[event] for event in given))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _path(value: Any) -> Path | None:
    if not isinstance(value, str) or not value:
        return None
    try:
        return Path(value).expanduser()
    except RuntimeError:
        # There is no such user whose home it could be.
        return None


def _file(setting: Setting, value: Any, source: str) -> Path:
    path = _path(value)
    if path is None or not path.is_file():
        raise _wrong(setting, value, source, "a file that exists")
    return path.absolute()


def _directory(setting: Setting, value: Any, source: str) -> Path:
    path = _path(value)
    if path is None or not path.is_dir():
        raise _wrong(setting, value, source, "a folder that exists")
    return path.absolute()


def _store(setting: Setting, value: Any, source: str) -> str:
    if not isinstance(value, str) or not _STORE.fullmatch(value):
        expected = "file:///FOLDER, s3://BUCKET, gs://BUCKET or az://CONTAINER, without credentials"
        raise _wrong(setting, value, source, expected)
    return value


def _is_host(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return 0 < len(name) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in name.split("."))
    return True


def _yes_or_no(setting: Setting, value: Any, source: str) -> bool:
    if isinstance(value, bool):
        return value
    match value.strip().lower() if isinstance(value, str) else "":
        case "yes" | "true" | "on" | "1":
            return True
        case "no" | "false" | "off" | "0":
            return False
    raise _wrong(setting, value, source, "yes or no")


def _number(setting: Setting, value: Any, source: str, as_type: type[int] | type[float]) -> int | float:
    whole = as_type is int
    what = "a whole number" if whole else "a number"
    expected = f"{what} from {setting.least} to {setting.most}"
    if isinstance(value, bool) or not isinstance(value, (str, int) if whole else (str, int, float)):
        raise _wrong(setting, value, source, expected)
    try:
        number = as_type(value)
    except ValueError:
        raise _wrong(setting, value, source, expected) from None
    if not setting.least <= number <= setting.most:
        raise _wrong(setting, value, source, expected)
    return number


def _wrong(setting: Setting, value: Any, source: str, expected: str) -> Invalid:
    return Invalid("config.value", f"{setting.name} is {value!r} ({source}); it has to be {expected}")
