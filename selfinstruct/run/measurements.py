"""`metrics.jsonl`: wall-clock measurements of generation, which replay does not read.

A running generation appends a row every few seconds:

    {"time": Unix seconds, "accepted": n, "candidates": n, "proposals": n, "completion_tokens": n,
     "completion_tokens_per_s": ..., "accepted_per_s": ..., "left_s": ..., "engine_start_s": ..., "tokens_per_s": ...,
     "elapsed_s": ..., "running": n, "waiting": n, "prompt_tokens_per_s": ..., "driver_cpu": ..., "read": {kind: n},
     "written": {kind: n}, "cached": {kind: n}}

and a row for each restart of the engine: {"time", "event": "engine_restarted", ...}, and for each trial of a scorer on
known answers (`selfinstruct rate`): {"time", "event": "scorer_checked", ...}.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from selfinstruct.formats import jsonl


class Measurement(msgspec.Struct, frozen=True):
    """One row of measurements.

    Attributes:
        time: when the row was written, in Unix seconds.
        accepted: number of accepted instructions so far.
        accepted_per_s: accepted instructions per second over the last half minute.
        completion_tokens_per_s: completion tokens per second over the last half minute.
        left_s: seconds until the target is reached and all instances are written; None: not known.
        engine_start_s: seconds that the engine took to start; 0 if not known.
        tokens_per_s: completion tokens per second since the engine started; 0 if not known.
        elapsed_s: seconds since this start of the run began to start its engine.
        running, waiting: requests that the engine computes, and that wait in it.
        prompt_tokens_per_s: prompt tokens of answered requests per second, since the row before.
        driver_cpu: CPU seconds of the driver's process per second, since the row before; 1 is a whole core.
        read, cached: prompt tokens of this start, and those of them that were in the engine's prefix cache, by kind of
            request; no `cached` where the engine does not tell.
        event: what happened, for rows about events; else empty.
    """

    time: float
    accepted: int = 0
    accepted_per_s: float = 0.0
    completion_tokens_per_s: float = 0.0
    left_s: float | None = None
    engine_start_s: float = 0.0
    tokens_per_s: float = 0.0
    elapsed_s: float = 0.0
    running: int = 0
    waiting: int = 0
    prompt_tokens_per_s: float = 0.0
    driver_cpu: float = 0.0
    read: dict[str, int] = {}
    cached: dict[str, int] = {}
    event: str = ""


_decode = msgspec.json.Decoder(Measurement).decode


class MetricsWriter:
    """Appends rows to `metrics.jsonl`. Rows that cannot be written are dropped.

    Args:
        path: the file.
        also: takes each row, too.
    """

    def __init__(self, path: Path, also: Callable[[Mapping[str, Any]], None] = lambda row: None) -> None:
        self._path = path
        self._also = also

    def append(self, **values: Any) -> None:
        """Append a row of these values and the time (Unix seconds)."""
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as stream:
            stream.write(jsonl.dumps({"time": round(time.time(), 3), **values}) + "\n")
        self._also(values)


def read_measurements(path: Path, tail_bytes: int | None = None) -> Iterator[Measurement]:
    """Yield the measurements in order. Rows about events and incomplete rows are left out.

    Args:
        path: the file; if it does not exist, there are no measurements.
        tail_bytes: number of bytes to read at the end of the file; None: the whole file.
    """
    if not path.exists():
        return
    with path.open("rb") as stream:
        if tail_bytes is not None:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - tail_bytes))
        for raw in stream:
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                row = _decode(raw)
                if not row.event:
                    yield row


def last_speed(measurements: Iterable[Measurement]) -> tuple[float, float]:
    """Return (seconds to start an engine, completion tokens per second), the last of each that was measured, else 0."""
    start_s = tokens_per_s = 0.0
    for measurement in measurements:
        start_s = measurement.engine_start_s or start_s
        tokens_per_s = measurement.tokens_per_s or tokens_per_s
    return start_s, tokens_per_s
