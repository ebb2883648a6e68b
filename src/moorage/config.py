"""The settings of one hub, checked: `load_config` is the door through which outside text becomes a `Config`.

A flag wins over the environment, that over `moorage.toml` in the data folder, that over the default of the table
(`settings.py`). It raises `Invalid` naming the setting and where its value came from (`config.value`, `config.unknown`,
`config.file`, `config.not_permitted`).
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from moorage.errors import Invalid
from moorage.settings import EVENT_SOURCES, LEVELS, MAIL_SECURITIES, PREFIX, SETTINGS, Setting

__all__ = [
    "CA_BUNDLE",
    "HTTPS_FALLBACK_PORT",
    "OWNER_KEY",
    "SETTINGS_FILE",
    "SIGN_IN_LINK",
    "Config",
    "data_folder",
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

# Read by the command line; they are no settings of a hub.
_OTHER_VARIABLES = frozenset({"MOORAGE_KEY_PASSWORD", "MOORAGE_PFX_PASSWORD"})

# Addresses that `localhost` stands for, or that stand for every address.
_ANYWHERE = ("127.0.0.1", "::1", "0.0.0.0", "::")
# No user name, query or fragment, in which somebody might put a secret.
_STORE = re.compile(r"(?:file:///|(?:s3|gs|az)://[A-Za-z0-9])[^\s@?#]*")
_BROKER = re.compile(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<host>[^\s:/@\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_ISSUER = re.compile(r"https://[A-Za-z0-9._\-\[\]:]+(?:/[A-Za-z0-9._~\-/%]*)?")
_CLAIM = re.compile(r"[^\s:=]{1,100}:[^=]{1,200}=[A-Za-z0-9-]{1,64}(?:@[a-z0-9-]{2,48})?")
# RFC 1123 names; an address is allowed too. contract/devices.md 1.2: C# takes letters, digits, `_ - .` and no port.
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

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
    """`MOORAGE_DATA`, else `moorage` in the XDG data home. Raises as `data_folder`."""
    if chosen := environ.get("MOORAGE_DATA"):
        return data_folder(chosen)
    return data_folder(environ.get("XDG_DATA_HOME") or "~/.local/share") / "moorage"


def data_folder(text: str | Path) -> Path:
    """What a shell may have left of it written out: `--data=~/hub`. Raises `Invalid` (`config.value`)."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise Invalid(
            "config.value",
            f"the data folder {str(text)!r} lies in a home folder, and this system knows none for it",
            fix="name it from the root: moorage up --data DIR",
        ) from None


def load_config(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Config:
    """Settings from `flags` (by setting name; None is "not given"), `environ`, the settings file and the defaults.

    Raises `Invalid`: `config.value` (a value out of its bounds), `config.unknown` (a key that is no setting),
    `config.file` (the settings file cannot be read), `config.not_permitted` (not by this user, or not its folder).
    """
    given: dict[str, tuple[Any, str]] = {
        setting.name: (setting.default, "default") for setting in SETTINGS if setting.default is not None
    }
    data = flags.get("data")
    folder = data_folder(data) if data else default_data_folder(environ)
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
        if not name.startswith(PREFIX) or name in variables or name in _OTHER_VARIABLES:
            continue
        # Without what all of them begin with, which would make any two of them alike.
        near = get_close_matches(
            name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in variables], n=1, cutoff=0.8
        )
        if near:
            meant[name] = PREFIX + near[0]
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
    except (ValueError, RecursionError) as error:
        # TOMLDecodeError is one; numbers of thousands of digits and lists in lists come out as others.
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
    if path is None or not _is_there(path, Path.is_file):
        raise _wrong(setting, value, source, "a file that exists")
    return path.absolute()


def _directory(setting: Setting, value: Any, source: str) -> Path:
    path = _path(value)
    if path is None or not _is_there(path, Path.is_dir):
        raise _wrong(setting, value, source, "a folder that exists")
    return path.absolute()


def _is_there(path: Path, is_so: Callable[[Path], bool]) -> bool:
    try:
        return is_so(path)
    except OSError:
        # A name that is too long, or in a folder that this user may not enter.
        return False


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
    except (ValueError, OverflowError):
        raise _wrong(setting, value, source, expected) from None
    if not setting.least <= number <= setting.most:
        raise _wrong(setting, value, source, expected)
    return number


def _wrong(setting: Setting, value: Any, source: str, expected: str) -> Invalid:
    # Python writes no numbers of thousands of digits.
    shown = f"{hex(value)[:20]}..." if isinstance(value, int) and value.bit_length() > 1000 else repr(value)
    return Invalid("config.value", f"{setting.name} is {shown} ({source}); it has to be {expected}")
