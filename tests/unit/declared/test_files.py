"""Files of declarations: what they mean, and how they are said to be wrong."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moorage.cli.declared.files import Document, nest, read_declarations, to_toml, to_yaml
from moorage.cli.declared.kinds import KINDS
from moorage.errors import Invalid
from moorage.pki.certificates import Certificate
from moorage.pki.keys import save_key
from tests.certs import root

TOML = """
[device."pump.01"]
tags = { site = "harbour", floor = 2 }

[device."pump.01".modules.camera]
auth = "sas"
"""
YAML = """
device:
  pump.01:
    tags: {site: harbour, floor: 2}
    modules:
      camera: {auth: sas}
"""


def write(folder: Path, text: str, name: str = "hub.yaml") -> Path:
    file = folder / name
    file.write_bytes(text.encode())
    return file


def refusal(folder: Path, text: str, name: str = "hub.yaml") -> Invalid:
    with pytest.raises(Invalid) as caught:
        read_declarations([write(folder, text, name)], KINDS)
    return caught.value


def test_both_formats_declare_the_same(tmp_path: Path) -> None:
    as_toml = read_declarations([write(tmp_path, TOML, "hub.TOML")], KINDS)
    as_yaml = read_declarations([write(tmp_path, YAML)], KINDS)
    assert [(each.kind, each.name, each.spec) for each in as_toml] == [
        ("device", "pump.01", {"tags": {"site": "harbour", "floor": 2}}),
        ("module", "pump.01/camera", {"auth": "sas"}),
    ]
    assert [(each.kind, each.name, each.spec) for each in as_yaml] == [
        (each.kind, each.name, each.spec) for each in as_toml
    ]


def test_what_others_refer_to_comes_first_whatever_the_order_of_the_files(
    tmp_path: Path, root_certificate: Certificate
) -> None:
    (tmp_path / "ca.pem").write_text(root_certificate.pem)
    devices = write(tmp_path, "device: {d: {}}\nenrollment-group: {g: {ca: factory}}", "a.yaml")
    cas = write(tmp_path, "ca: {factory: {certificate: ca.pem}}", "b.yaml")
    assert [each.kind for each in read_declarations([devices, cas], KINDS)] == ["ca", "enrollment-group", "device"]


@pytest.fixture
def root_certificate() -> Certificate:
    return root("factory").certificate


def test_a_certificate_is_a_file_beside_the_declaration_or_stands_in_it(
    tmp_path: Path, root_certificate: Certificate
) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.pem").write_text(root_certificate.pem)
    by_file = write(tmp_path, "ca: {factory: {certificate: certs/ca.pem}}", "a.yaml")
    inline = write(tmp_path, to_yaml({"ca": {"factory": {"certificate": root_certificate.pem}}}), "b.yaml")
    (first,), (second,) = (read_declarations([file], KINDS) for file in (by_file, inline))
    assert first.spec == second.spec
    assert first.spec["certificate"] == root_certificate.pem


def test_a_thumbprint_is_taken_from_a_certificate(tmp_path: Path, root_certificate: Certificate) -> None:
    (tmp_path / "own.pem").write_text(root_certificate.pem)
    (declared,) = read_declarations([write(tmp_path, "device: {d: {certificate: own.pem}}")], KINDS)
    assert declared.spec == {"auth": "x509-thumbprint", "primary-thumbprint": root_certificate.sha256}


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ("device: {d: {auht: sas}}", "declared.member", "device.d: there is no member 'auht'"),
        ("device: {d: {auth: password}}", "declared.member", "device.d.auth has to be one of sas"),
        ("device: {d: {status: off}}", "declared.member", "device.d.status has to be one of enabled"),
        ("device: {'a/b': {}}", "declared.member", "device.a/b:"),
        ("device: {d: {edge: 'yes'}}", "declared.member", "device.d.edge has to be true or false"),
        ("device: {d: {tags: {since: 2026-01-01}}}", "declared.member", "a date at since, which JSON does not know"),
        ("device: {d: {tags: [1]}}", "declared.member", "device.d.tags has to be a table"),
        ("device: {d: {auth: sas, primary-thumbprint: 00}}", "declared.member", "primary-thumbprint"),
        ("device: {d: {primary-key: '?'}}", "declared.member", "device.d.primary-key is no key"),
        ("device: {d: {modules: {m: {status: enabled}}}}", "declared.member", "device.d.modules.m: there is no member"),
        ("device: {d: {modules: {'a b': {}}}}", "declared.member", "device.d.modules.a b:"),
        ("device: {1: {}}", "declared.member", "the name 1 is a int; quote it"),
        ("device: [d]", "declared.member", "device has to be a table"),
        ("device: {d: 5}", "declared.member", "device.d has to be a table"),
        ("module: {m: {}}", "declared.kind", "'module' is nothing that can be declared"),
        ("devices: {d: {}}", "declared.kind", "there are ca, "),
        ("- device", "declared.file", "has to be a table of kinds"),
        ("device: {d: {", "declared.file", "line 1"),
        ("device: {d: {}, d: {}}", "declared.file", "'d' stands here twice"),
        ("device: {? [d] : {}}", "declared.file", "a name has to be a text in line 1"),
        ("device: {d: {tags: {since: 2026-02-30}}}", "declared.file", "this is no timestamp in line 1, column 28"),
        ("device: {d: {tags: {n: " + 5000 * "1" + "}}}", "declared.file", "this is no int in line 1"),
        ("device: {d: {edge: !!bool perhaps}}", "declared.file", "this is no bool in line 1"),
        ("device: {d: {tags: {n: .nan}}}", "declared.file", "nan, which is no number that JSON knows"),
        ("device: {d: {tags: {n: .inf}}}", "declared.file", "inf, which is no number that JSON knows"),
        ('device: {d: {tags: {n: "\\ud800"}}}', "declared.file", "half of a surrogate pair"),
        ("device: {d: {tags: &own {n: *own}}}", "declared.file", "or holds itself"),
        ("device: {d: {tags: {n: [1, null]}}}", "declared.member", "device.d: tags.n[1] is null"),
        ("device: {d: {desired: {a.b: 1}}}", "declared.member", "device.d: 'a.b' under desired"),
        ("ca: {c: {for: cloud}}", "declared.member", "ca.c.for has to be hub or dps, or a list of them"),
        ("policy: {p: {rights: [RegistryReed]}}", "declared.member", "policy.p: 'RegistryReed' is no right of a hub"),
        ("dps-policy: {p: {rights: [RegistryRead]}}", "declared.member", "no right of a provisioning service"),
        ("device: !!python/object:os.system {}", "declared.file", "could not determine a constructor"),
        ("[" * 5000, "declared.file", "cannot be read"),
        ("ca: {c: {verified: true}}", "declared.member", "ca.c: its certificate is missing"),
        ("ca: {c: {certificate: none.pem}}", "declared.member", "none.pem cannot be read: No such file"),
        ("enrollment: {e: {}}", "declared.member", "it attests by one of certificate or symmetric-key or"),
        (
            "enrollment-group: {g: {symmetric-key: true, ca: c}}",
            "declared.member",
            "CAs and a symmetric key",
        ),
        (
            "enrollment-group: {g: {symmetric-key: true, webhook: 'https:'}}",
            "declared.member",
            "allocation = custom",
        ),
        (
            "enrollment-group: {g: {symmetric-key: true, allocation: custom, webhook-api-version: '1'}}",
            "declared.member",
            "webhook-api-version goes with webhook",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, reason: str, said: str) -> None:
    refused = refusal(tmp_path, text)
    assert refused.reason == reason
    assert said in refused.message
    assert "hub.yaml" in refused.message


def test_a_private_key_is_not_taken_for_a_certificate_and_not_shown(tmp_path: Path) -> None:
    issued = root("factory")
    (tmp_path / "key.pem").write_bytes(save_key(issued.key))
    refused = refusal(tmp_path, "ca: {factory: {certificate: key.pem}}")
    assert "private key" in refused.message
    assert "PRIVATE" not in refused.message


def test_a_key_that_is_wrong_is_not_shown(tmp_path: Path) -> None:
    assert "c2VjcmV0" not in refusal(tmp_path, "device: {d: {primary-key: c2VjcmV0}}").message


def test_a_line_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    refused = refusal(tmp_path, "device:\n  d:\n    primary-key: c2VjcmV0: c2VjcmV0\n")
    assert "line 3" in refused.message
    assert "c2VjcmV0" not in refused.message


def test_aliases_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    lines = ["device:", "  d:", "    tags:", "      a0: &a0 [1]"]
    lines += [f"      a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "its aliases written out" in refusal(tmp_path, "\n".join(lines)).message


def test_what_things_have_in_common_is_written_once(tmp_path: Path) -> None:
    text = """
device:
  one: &common {status: disabled, tags: {site: harbour}}
  two: &other
    <<: *common
    status: enabled
  three:
    <<: *other
    edge: true
"""
    one, two, three = read_declarations([write(tmp_path, text)], KINDS)
    assert one.spec == {"status": "disabled", "tags": {"site": "harbour"}}
    assert two.spec == {"status": "enabled", "tags": {"site": "harbour"}}
    assert three.spec == {"status": "enabled", "tags": {"site": "harbour"}, "edge": True}


@pytest.mark.parametrize(("text", "name"), [(TOML, "hub.toml"), (YAML, "hub.yaml")])
def test_a_byte_order_mark_is_no_part_of_it(tmp_path: Path, text: str, name: str) -> None:
    plain = read_declarations([write(tmp_path, text, name)], KINDS)
    marked = read_declarations([write(tmp_path, f"\ufeff{text}", name)], KINDS)
    assert [each.spec for each in marked] == [each.spec for each in plain]


def test_rights_are_the_same_in_every_spelling(tmp_path: Path) -> None:
    (declared,) = read_declarations([write(tmp_path, "policy: {p: {rights: [serviceconnect, REGISTRYREAD]}}")], KINDS)
    assert declared.spec == {"rights": ["RegistryRead", "ServiceConnect"]}


def test_a_ca_for_one_service_is_named_by_it(tmp_path: Path, root_certificate: Certificate) -> None:
    (tmp_path / "ca.pem").write_text(root_certificate.pem)
    (declared,) = read_declarations([write(tmp_path, "ca: {c: {certificate: ca.pem, for: dps}}")], KINDS)
    assert declared.spec["for"] == ["dps"]


def test_a_thing_is_declared_once_over_all_files(tmp_path: Path) -> None:
    files = [write(tmp_path, "device: {d: {}}", name) for name in ("a.yaml", "b.yaml")]
    with pytest.raises(Invalid, match="b.yaml: device.d was declared before, in .*a.yaml: device.d") as caught:
        read_declarations(files, KINDS)
    assert caught.value.reason == "declared.twice"


@pytest.mark.parametrize(("write_document", "name"), [(to_toml, "out.toml"), (to_yaml, "out.yaml")])
def test_what_is_written_is_read_back(tmp_path: Path, write_document: object, name: str) -> None:
    document: Document = nest(
        [
            ("device", "pump.01", {"tags": {"site": "Häfen", "deep": {"list": [1, 2.5, True, "x\ny"]}}}),
            ("module", "pump.01/camera", {"auth": "sas"}),
        ]
    )
    assert callable(write_document)
    read = read_declarations([write(tmp_path, write_document(document), name)], KINDS)
    assert nest((each.kind, each.name, each.spec) for each in read) == document


_NAMES = st.text(max_size=6)
_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**52), 2**52) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(_NAMES, below, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(_NAMES, _VALUES, max_size=3))
@example({"a": "one\r\ntwo"})
@example({"a": "one\x85two\nthree\u2028four"})
@example({"<<": "=", "=": "<<", "null": "~", "1": "1", "yes": "2026-01-01"})
@example({"a": " begins with a space\nends with one \n\n"})
def test_whatever_texts_a_twin_holds_are_read_back_as_they_were(value: dict[str, object]) -> None:
    spec = {"symmetric-key": True, "tags": value}
    with TemporaryDirectory() as folder:
        for write_document, name in ((to_toml, "out.toml"), (to_yaml, "out.yaml")):
            file = write(Path(folder), write_document({"enrollment": {"e": spec}}), name)
            (declared,) = read_declarations([file], KINDS)
            assert declared.spec == spec
