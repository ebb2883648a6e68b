"""Devices as rows of a file: what is read, what is told of a line that is none, and what spreadsheets must not run."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.dialects.device_csv import (
    MAX_ROWS,
    ErrorRow,
    ExportedDevice,
    ImportedDevice,
    csv_text,
    export_header,
    export_rows,
    read_devices,
)
from moorage.errors import Invalid, Refusal, TooLarge
from moorage.fleet.model import DeviceRecord
from moorage.ids import DEFAULT_HUB, DeviceId, Secret, Thumbprint

NOW = datetime(2026, 5, 4, tzinfo=UTC)


def read(text: str | bytes) -> list[ImportedDevice | ErrorRow]:
    return list(read_devices(io.BytesIO(text.encode() if isinstance(text, str) else text)))


@pytest.mark.parametrize(
    "text",
    [
        "IOTC_DEVICEID,IOTC_DEVICENAME\npump-01,The pump\npump-02,\n",
        "\ufeffIOTC_DEVICEID,IOTC_DEVICENAME\r\npump-01,The pump\r\npump-02\r\n",
        "iotc_devicename;other;iotc_deviceid\nThe pump;;pump-01\n;;pump-02",
        '"IOTC_DEVICEID","IOTC_DEVICENAME"\n"pump-01","The pump"\n\n"pump-02",""\n',
        " IOTC_DEVICEID , IOTC_DEVICENAME \n pump-01 , The pump \n,,\n pump-02 ,\n",
    ],
)
def test_files_of_spreadsheets_are_read_as_they_write_them(text: str) -> None:
    found = [(row.device_id, row.display_name) for row in read(text) if isinstance(row, ImportedDevice)]
    assert found == [("pump-01", "The pump"), ("pump-02", "")]


def test_a_line_that_is_no_device_is_told_with_its_number_and_the_next_is_read() -> None:
    rows = read('IOTC_DEVICEID\npump 01\n"pump"-02\npump-03\n')
    told = [(row.line, row.refusal.reason if isinstance(row, ErrorRow) else row.device_id) for row in rows]
    assert told == [(2, "id.device_plain"), (3, "csv.row"), (4, "pump-03")]


@pytest.mark.parametrize(
    ("content", "refusal", "reason"),
    [
        (b"", Invalid, "csv.columns"),
        (b"name,id\n", Invalid, "csv.columns"),
        (b"IOTC_DEVICEID\n\xff\n", Invalid, "csv.encoding"),
        (b"IOTC_DEVICEID\n" + b"x" * (64 * 1024 + 1), TooLarge, "csv.line"),
        (b"IOTC_DEVICEID\n" + b"x\n" * (MAX_ROWS + 1), TooLarge, "csv.rows"),
    ],
)
def test_what_is_no_file_of_devices_is_refused(content: bytes, refusal: type[Refusal], reason: str) -> None:
    with pytest.raises(refusal) as told:
        read(content)
    assert told.value.reason == reason


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        read(b"IOTC_DEVICEID,IOTC_DEVICENAME\n" + content)
    except Refusal as refusal:
        assert refusal.reason in ("csv.encoding", "csv.line", "csv.rows")


@given(st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_no_cell_begins_like_a_formula(cells: list[str]) -> None:
    rows = list(csv.reader(io.StringIO(csv_text([cells]), newline="")))
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row)


def test_what_was_exported_can_be_imported() -> None:
    records = [
        DeviceRecord(DEFAULT_HUB, DeviceId(name), display_name, NOW)
        for name, display_name in (
            ("-pump", "=1+1"),
            ("pump-2", 'a "b", c'),
            ("pump-3", "'quoted"),
            ("pump-4", "'=1+1"),
            ("pump-5", "''-1"),
            ("pump-6", "''"),
        )
    ]
    keys, thumbprints = (Secret("a2V5"), Secret("b3RoZXI=")), (Thumbprint("A" * 40), None)
    text = export_header() + export_rows(
        [
            ExportedDevice(records[0], keys),
            ExportedDevice(records[1], None, thumbprints),
            *(ExportedDevice(record) for record in records[2:]),
        ]
    )
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["IOTC_SASKEY_SECONDARY"] for line in lines] == ["b3RoZXI=", *[""] * 5]
    assert [line["IOTC_X509THUMBPRINT_PRIMARY"] for line in lines] == ["", "A" * 40, *[""] * 4]
    assert [line["IOTC_DEVICENAME"] for line in lines][:3] == ["'=1+1", 'a "b", c', "'quoted"]
    found = [(row.device_id, row.display_name) for row in read(text) if isinstance(row, ImportedDevice)]
    assert found == [(record.device_id, record.display_name) for record in records]
