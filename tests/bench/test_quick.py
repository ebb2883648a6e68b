"""`make bench-quick` says when a limit is passed; the load itself is not run here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.peers import BenchError
from bench.quick import IDLE, ROWS, Row, Series, failures, table

from bench import quick

CONNECT_13, CONNECT_12, ONE_IN_FLIGHT, TWENTY_IN_FLIGHT = ROWS


def _series(row: Row, *rounds: tuple[float, float]) -> Series:
    return Series(row, [ours for ours, _ in rounds], [theirs for _, theirs in rounds])


def test_the_limits_are_those_that_were_promised() -> None:
    assert [(row.limits, row.limit) for row in (*ROWS, IDLE)] == [
        ("ratio", 1.1),
        ("ratio", None),
        ("ratio", 3.0),
        ("ratio", 1.3),
        ("ours", 45.0),
    ]


@pytest.mark.parametrize("row", [row for row in ROWS if row.limit is not None])
def test_a_ratio_at_its_limit_passes_and_one_above_it_fails(row: Row) -> None:
    assert row.limit is not None
    assert failures([_series(row, (10.0 * row.limit, 10.0))]) == []
    (sentence,) = failures([_series(row, (10.1 * row.limit, 10.0))])
    assert sentence.startswith(row.name)
    assert f"the limit is {row.limit:g}" in sentence


def test_idle_memory_is_judged_by_our_own_figure() -> None:
    assert failures([_series(IDLE, (45.0, 1.0))]) == []
    assert failures([_series(IDLE, (45.1, 1000.0))]) == ["idle device, subscribed: 45.1 KiB, the limit is 45"]


def test_a_connect_over_tls_1_2_is_only_reported() -> None:
    series = _series(CONNECT_12, (9000.0, 1.0))
    assert failures([series]) == []
    assert "reported" in table([series])


def test_a_row_is_judged_by_the_median_of_the_ratios_of_its_rounds() -> None:
    # The machine was slow in the last round, for both; and one round of ours met something else.
    series = _series(CONNECT_13, (100.0, 100.0), (900.0, 100.0), (3000.0, 3000.0))
    assert series.judged == 1.0
    assert failures([series]) == []


def _run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, measured: list[Series]) -> tuple[int, dict[str, object]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quick, "measure", lambda _folder, _until: (measured, "3.0.0"))
    result = tmp_path / "result.json"
    status = quick.main(["--json", str(result)])
    return status, json.loads(result.read_text())


def test_a_run_within_its_limits_ends_with_0(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, document = _run(monkeypatch, tmp_path, [_series(CONNECT_13, (900.0, 1000.0)), _series(IDLE, (40.0, 27.0))])
    assert status == 0
    assert document["failures"] == []
    assert "past the limit" not in capsys.readouterr().err
    assert list((tmp_path / "build/bench").iterdir()) == []


def test_a_run_past_a_limit_ends_with_1_and_says_which(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = [_series(CONNECT_13, (1200.0, 1000.0)), _series(TWENTY_IN_FLIGHT, (10.0, 10.0))]
    status, document = _run(monkeypatch, tmp_path, measured)
    sentence = "connect, TLS 1.3: 1.20 times Mosquitto's CPU, the limit is 1.1"
    assert status == 1
    assert document["failures"] == [sentence]
    told = capsys.readouterr()
    assert told.err == f"past the limit: {sentence}\n"
    assert "<= 1.1, FAILED" in told.out
    assert "<= 1.3, passed" in told.out


def test_what_cannot_be_measured_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def measure(_folder: Path, _until: float) -> tuple[list[Series], str]:
        raise BenchError("the load 'idle' on moorage failed: load: no socket")

    monkeypatch.setattr(quick, "measure", measure)
    assert quick.main([]) == 2
    assert capsys.readouterr().err == "not measured: the load 'idle' on moorage failed: load: no socket\n"
