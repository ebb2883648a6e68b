"""Settings: where they come from, which wins, and what a wrong one is told."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import moorage.app
import moorage.application
import moorage.automating
import moorage.process
import moorage.servers.listeners
from moorage.cli import main
from moorage.config import (
    SETTINGS_FILE,
    Config,
    default_data_folder,
    is_loopback,
    load_config,
    misspelt_variables,
)
from moorage.errors import Invalid, NotFound
from moorage.hub_info import HUB_INFO, HubInfo, read_hub_info
from moorage.ids import Secret
from moorage.settings import SETTINGS, Setting

NUMBERS = [setting for setting in SETTINGS if setting.kind in ("port", "count", "seconds")]


def hub_info(data: Path, https_port: int = 443, hostname: str = "localhost") -> HubInfo:
    return HubInfo(
        hostnames=(hostname,),
        bind="127.0.0.1",
        mqtt_port=8883,
        https_port=https_port,
        id_scope="0ne0000ABCD",
        data=data,
        ca_bundle=data / "ca-bundle.pem",
        hub_key=Secret("aHVi"),
        dps_key=Secret("ZHBz"),
        pid=4711,
        warnings=("port 443 is not permitted",),
    )


def test_the_table_and_the_config_hold_the_same_settings() -> None:
    assert [*(setting.name for setting in SETTINGS), "chosen"] == [field.name for field in dataclasses.fields(Config)]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: str(setting.name))
def test_every_setting_is_read_where_the_hub_is_put_together(setting: Setting) -> None:
    modules = (moorage.app, moorage.application, moorage.automating, moorage.process, moorage.servers.listeners)
    assert any(f"config.{setting.name}" in Path(str(module.__file__)).read_text() for module in modules)


def test_defaults_listen_on_loopback_alone(tmp_path: Path) -> None:
    config = load_config({"data": tmp_path}, {})
    assert (config.hostname, config.bind, config.mqtt_port, config.https_port) == ("localhost", "127.0.0.1", 8883, 443)


def test_a_host_name_that_is_not_this_machine_opens_the_hub_to_the_network(tmp_path: Path) -> None:
    assert load_config({"data": tmp_path, "hostnames": ("hub.plant.example",)}, {}).bind == "0.0.0.0"
    assert load_config({"data": tmp_path, "hostnames": ("hub.localhost", "127.0.0.1")}, {}).bind == "127.0.0.1"
    assert load_config({"data": tmp_path, "hostnames": ("hub.plant.example",), "bind": "::1"}, {}).bind == "::1"


def test_an_address_of_its_own_is_the_name_where_none_is_given(tmp_path: Path) -> None:
    assert load_config({"data": tmp_path, "bind": "127.91.0.1"}, {}).hostnames == ("127.91.0.1",)
    assert (
        load_config({"data": tmp_path, "bind": "127.91.0.1", "hostnames": ("a.example",)}, {}).hostname == "a.example"
    )
    for bind in ("127.0.0.1", "::1", "0.0.0.0"):
        assert load_config({"data": tmp_path, "bind": bind}, {}).hostname == "localhost"


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("mqtt_port = 1\nhttps_port = 2\npartitions = 3\n")
    environ = {"MOORAGE_MQTT_PORT": "11", "MOORAGE_HTTPS_PORT": "12"}
    config = load_config({"data": tmp_path, "mqtt_port": "21"}, environ)
    assert (config.mqtt_port, config.https_port, config.partitions, config.linger_ms) == (21, 12, 3, 0)


def test_kafka_brokers_are_hosts_with_or_without_a_port(tmp_path: Path) -> None:
    assert load_config({"data": tmp_path}, {}).kafka_brokers == ()
    named = "*.Kafka.example, 10.0.0.7:9092,[::1]:9093,"
    config = load_config({"data": tmp_path}, {"MOORAGE_KAFKA_BROKERS": named})
    assert config.kafka_brokers == ("*.kafka.example", "10.0.0.7:9092", "[::1]:9093")


def test_a_provider_has_an_issuer_and_a_client_and_rules_in_their_order(tmp_path: Path) -> None:
    issuer = {"data": tmp_path, "oidc_issuer": "https://login.example/plant"}
    with pytest.raises(Invalid, match="come together"):
        load_config(issuer, {})
    rules = "groups:a b=builder, roles:c=org-viewer@line-1"
    config = load_config({**issuer, "oidc_client_id": "hub"}, {"MOORAGE_OIDC_ROLES": rules})
    assert config.oidc_roles == ("groups:a b=builder", "roles:c=org-viewer@line-1")
    assert config.oidc_client_secret_file is None


def test_host_names_from_the_environment_are_separated_by_commas_and_compared_without_case(tmp_path: Path) -> None:
    config = load_config({"data": tmp_path}, {"MOORAGE_HOSTNAME": "Hub.Example., 10.0.0.7,hub.example"})
    assert config.hostnames == ("hub.example", "10.0.0.7")


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: str(setting.name))
def test_a_number_is_taken_at_its_bounds_and_refused_beyond_them(setting: Setting, tmp_path: Path) -> None:
    for value in (setting.least, setting.most):
        assert getattr(load_config({"data": tmp_path, setting.name: str(value)}, {}), setting.name) == value
    for wrong in (str(setting.least - 1), str(setting.most + 1), "many", "", "nan"):
        with pytest.raises(Invalid) as refused:
            load_config({"data": tmp_path}, {setting.variable: wrong})
        assert refused.value.reason == "config.value"
        assert setting.name in refused.value.message
        assert setting.variable in refused.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hostnames", "https://hub.example"),
        ("hostnames", "hub.example:8443"),
        ("hostnames", "-hub"),
        ("hostnames", ""),
        ("bind", "hub.example"),
        ("vouched_certificates", "perhaps"),
        ("log", "loud"),
        ("kafka_brokers", "kafka://broker.example"),
        ("kafka_brokers", "broker.example:99999"),
        ("kafka_brokers", "10.0.0.0/8"),
        ("kafka_brokers", "*"),
        ("oidc_issuer", "http://login.example"),
        ("oidc_issuer", "https://login.example/?tenant=1"),
        ("oidc_issuer", "https://ada:secret@login.example"),
        ("oidc_roles", "administrator"),
        ("oidc_roles", "groups:admins=org viewer"),
    ],
)
def test_a_wrong_text_names_the_setting_and_the_flag(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=f"{name} is .*--") as refused:
        load_config({"data": tmp_path, name: value}, {})
    assert refused.value.reason == "config.value"


@pytest.mark.parametrize(
    ("text", "reason", "told"),
    [
        ("mqtt_prot = 1", "config.unknown", "did you mean mqtt_port"),
        ("data = '/elsewhere'", "config.unknown", "--data"),
        ("mqtt_port = ", "config.file", "NAME = VALUE"),
        ("mqtt_port = true", "config.value", ""),
        ("mqtt_port = 8883.5", "config.value", ""),
        ("hostnames = [7]", "config.value", ""),
        ("bind = 7", "config.value", ""),
        ("vouched_certificates = 1", "config.value", ""),
        (f"handshake_timeout_s = 1{'0' * 400}", "config.value", ""),
        (f"partitions = 0x1{'0' * 5000}", "config.value", ""),
        (f"partitions = 1{'0' * 5000}", "config.file", ""),
        (f"egress_allow = {'[' * 3000}{']' * 3000}", "config.file", ""),
        (f"egress_ca_bundle = '{'x' * 300}'", "config.value", ""),
        (f"transfer_folder = '{'x' * 300}'", "config.value", ""),
    ],
)
def test_a_settings_file_that_is_wrong_says_where(text: str, reason: str, told: str, tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text)
    with pytest.raises(Invalid) as refused:
        load_config({"data": tmp_path}, {})
    assert refused.value.reason == reason
    assert SETTINGS_FILE in refused.value.message
    assert told in refused.value.fix


def test_what_somebody_chose_is_told_from_a_default_of_the_same_value(tmp_path: Path) -> None:
    assert load_config({"data": tmp_path}, {}).chosen == frozenset()
    assert load_config({"data": tmp_path, "https_port": "443"}, {}).chosen == {"https_port"}
    assert load_config({"data": tmp_path}, {"MOORAGE_HTTPS_PORT": "443"}).chosen == {"https_port"}


def test_a_variable_that_is_nearly_a_setting_is_pointed_out_and_others_are_not() -> None:
    environ = {
        "MOORAGE_MQTT_PROT": "1",
        "MOORAGE_HOSTNAMES": "hub",
        "MOORAGE_MQTT_PORT": "1",
        "MOORAGE_DATA": "/d",
        "MOORAGE_KEY_PASSWORD": "x",
        "MOORAGE_PFX_PASSWORD": "x",
        "MOORAGE_SERVICE_HOST": "10.0.0.1",
        "MOORAGE_PORT_8883_TCP": "tcp://10.0.0.1:8883",
        "MQTT_PROT": "1",
    }
    assert misspelt_variables(environ) == {
        "MOORAGE_MQTT_PROT": "MOORAGE_MQTT_PORT",
        "MOORAGE_HOSTNAMES": "MOORAGE_HOSTNAME",
    }


def test_a_folder_that_this_user_may_not_enter_is_named_and_not_its_settings_file(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(Invalid) as refused:
            load_config({"data": folder}, {})
    finally:
        if is_root:
            os.seteuid(0)
        folder.chmod(0o700)
    assert refused.value.reason == "config.not_permitted"
    assert f"{folder} cannot be read by this user" in refused.value.message
    assert SETTINGS_FILE not in refused.value.message


def test_a_settings_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="cannot be read"):
        load_config({"data": tmp_path}, {})


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_makes_a_setting_fail_otherwise_than_by_refusal(text: str) -> None:
    for setting in SETTINGS[1:]:
        try:
            load_config({"data": "/nowhere", setting.name: text}, {})
        except Invalid as refusal:
            assert refusal.reason == "config.value"


def test_the_data_folder_is_the_environments_then_xdgs_then_the_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_data_folder({"MOORAGE_DATA": "/a", "XDG_DATA_HOME": "/b"}) == Path("/a")
    assert default_data_folder({"XDG_DATA_HOME": "/b"}) == Path("/b/moorage")
    assert default_data_folder({}) == Path("/home/someone/.local/share/moorage")


def test_a_home_that_the_shell_left_in_the_data_folder_is_the_same_for_every_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config({"data": Path("~/hub")}, {}).data == tmp_path / "hub"
    assert main(["env", "--data=~/hub"]) == 3
    assert f"no hub has run on {tmp_path / 'hub'}:" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["~nobody-of-this-name", "~nobody-of-this-name/hub"])
def test_a_data_folder_in_no_known_home_is_refused(text: str) -> None:
    for flags, environ in (({"data": text}, {}), ({}, {"MOORAGE_DATA": text}), ({}, {"XDG_DATA_HOME": text})):
        with pytest.raises(Invalid, match="nobody-of-this-name.* home folder") as refused:
            load_config(flags, environ)
        assert refused.value.reason == "config.value"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_names_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example", "notlocalhost"])
def test_other_names_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_what_a_hub_published_is_read_back(tmp_path: Path) -> None:
    info = hub_info(tmp_path)
    for published in (info, dataclasses.replace(info, pid=4712)):
        (tmp_path / HUB_INFO).write_text(published.document())
        assert read_hub_info(tmp_path) == published


def test_connection_strings_carry_the_port_where_it_is_not_443(tmp_path: Path) -> None:
    at_443, at_8443 = hub_info(tmp_path), hub_info(tmp_path, https_port=8443)
    assert at_443.hub_connection_string.reveal() == (
        "HostName=localhost;SharedAccessKeyName=iothubowner;SharedAccessKey=aHVi"
    )
    assert at_8443.dps_connection_string.reveal() == (
        "HostName=localhost:8443;SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=ZHBz"
    )
    assert at_8443.environment()["IOTHUB_HOSTNAME"] == "localhost"


def test_keys_do_not_show_when_the_info_is_printed(tmp_path: Path) -> None:
    shown = repr(hub_info(tmp_path)) + str(hub_info(tmp_path).hub_connection_string)
    assert "aHVi" not in shown
    assert "ZHBz" not in shown


def test_without_a_hub_the_fix_is_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        read_hub_info(tmp_path)
    assert refused.value.reason == "hub.never_ran"
    assert "moorage up" in refused.value.fix


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"hostnames": 7}', "\x00"])
def test_a_damaged_info_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / HUB_INFO).write_text(text)
    with pytest.raises(Invalid, match=HUB_INFO) as refused:
        read_hub_info(tmp_path)
    assert refused.value.reason == "hub.info_unreadable"


def test_strict_limits_set_rates_that_nobody_chose(tmp_path: Path) -> None:
    flags = {"data": str(tmp_path)}
    assert load_config(flags, {}).throttle_central_per_second == 0
    chosen = {"MOORAGE_STRICT_LIMITS": "yes", "MOORAGE_THROTTLE_METHODS_PER_SECOND": "7"}
    config = load_config(flags, chosen)
    assert (config.throttle_central_per_second, config.throttle_methods_per_second) == (20, 7)
    assert (config.throttle_registrations_per_minute, config.throttle_twin_updates_per_second) == (200, 100)
