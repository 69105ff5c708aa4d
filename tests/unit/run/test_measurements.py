"""Wall-clock measurements: what is written is read, and nothing else."""

from __future__ import annotations

from pathlib import Path

from selfinstruct.run.measurements import Measurement, MetricsWriter, read_measurements


def test_what_is_written_is_read(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path / "metrics.jsonl")
    writer.append(accepted=2, candidates=9, accepted_per_s=0.5)
    writer.append(event="engine_restarted", seconds=3.0)
    writer.append(accepted=3, engine_start_s=20.0)
    first, second = read_measurements(tmp_path / "metrics.jsonl")
    assert (first.accepted, first.accepted_per_s, second.engine_start_s) == (2, 0.5, 20.0)
    assert 0 <= second.time - first.time < 60


def test_rows_that_are_no_measurements_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"time": 1, "accepted": 2}\n[]\n{"time": null}\n\xff\n{"time": 2')
    assert list(read_measurements(path)) == [Measurement(time=1, accepted=2)]
    assert list(read_measurements(tmp_path / "none")) == []


def test_only_the_tail_of_a_long_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"time": {k}}}\n' for k in range(10, 100)))
    assert [row.time for row in read_measurements(path, tail_bytes=30)] == [98, 99]


def test_a_directory_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    MetricsWriter(tmp_path / "missing" / "metrics.jsonl").append(accepted=1)
    assert not (tmp_path / "missing").exists()
