from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Invalid
from moorage.pki.names import certificate_files, file_stem


# What camelcase 4.1.0 answers, which the SDK's generator of test certificates names its files with.
@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("sample-device-01", "sampleDevice01"),
        ("mytestrootcert", "mytestrootcert"),
        ("Test Root Cert", "testRootCert"),
        ("fooBar", "fooBar"),
        ("FooBar", "fooBar"),
        ("Foo-Bar", "fooBar"),
        ("HTTPServer", "httpServer"),
        ("pump.01_a", "pump01A"),
        ("device1A", "device1A"),
        ("x-1y", "x1y"),
        ("ABC", "abc"),
        ("d1-M", "d1M"),
    ],
)
def test_stem_is_camel_case(name: str, stem: str) -> None:
    assert file_stem(name) == stem


def test_module_is_no_folder() -> None:
    assert file_stem("pump-01/filter") == "pump01Filter"


@given(st.text(max_size=60))
def test_stem_is_always_a_plain_file_name(name: str) -> None:
    try:
        stem = file_stem(name)
    except Invalid as refusal:
        assert refusal.reason == "name.file"
        assert not any(char.isascii() and char.isalnum() for char in name)
    else:
        assert stem.isascii()
        assert stem.isalnum()


def test_files_of_a_certificate() -> None:
    assert certificate_files("sampleDevice01") == (
        "sampleDevice01_cert.pem",
        "sampleDevice01_key.pem",
        "sampleDevice01_fullchain.pem",
        "sampleDevice01.pfx",
    )
