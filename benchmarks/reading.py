"""Speed and memory of reading a dataset, beside `datasets`.

    python -m benchmarks.reading --megabytes 200 --runs 3

Writes Alpaca rows as JSON Lines, then turns them into messages in two ways, by turns, each in a process of its own:
`selfinstruct convert`, and `datasets.load_dataset(...).map(...).to_json(...)` without a cache. Prints the medians of
the seconds, the largest resident memory, and the ratio.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

_OURS = "from selfinstruct.cli import main; import sys; sys.argv = ['selfinstruct', 'convert', *sys.argv[1:]]; main()"
_THEIRS = """
import sys, tempfile, datasets
datasets.disable_progress_bars()
with tempfile.TemporaryDirectory() as cache:
    rows = datasets.load_dataset('json', data_files=sys.argv[1], split='train', cache_dir=cache)
    def messages(row):
        asked = f"{row['instruction']}\\n\\n{row['input']}" if row['input'] else row['instruction']
        return {'messages': [{'role': 'user', 'content': asked}, {'role': 'assistant', 'content': row['output']}]}
    rows.map(messages, remove_columns=rows.column_names).to_json(sys.argv[2])
"""


def write_rows(path: Path, megabytes: int) -> int:
    """Write Alpaca rows of ordinary lengths until the file has this size. Return their number."""
    draw = random.Random(0)
    words = ["river", "list", "write", "short", "the", "of", "and", "tram", "number", "explain", "table", "code"]
    number = size = 0
    with path.open("w") as stream:
        while size < megabytes * 1_000_000:
            texts = [" ".join(draw.choices(words, k=draw.randint(*span))) for span in ((6, 20), (0, 30), (10, 120))]
            size += stream.write(json.dumps(dict(zip(("instruction", "input", "output"), texts, strict=True))) + "\n")
            number += 1
    return number


def measure(code: str, source: Path, target: Path) -> tuple[float, float]:
    """Run one way. Return its seconds and its peak memory in MiB."""
    peak = "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    wrapped = f"import atexit, resource, sys\natexit.register(lambda: {peak})\n{code}"
    started = time.monotonic()
    command = [sys.executable, "-c", wrapped, str(source), str(target)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.monotonic() - started, int(ran.stderr.split()[-1]) / 1024


@click.command()
@click.option("--megabytes", type=int, default=200, show_default=True)
@click.option("--runs", type=int, default=3, show_default=True)
def main(megabytes: int, runs: int) -> None:
    """Measure both ways by turns."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        number = write_rows(source, megabytes)
        click.echo(f"{number:,} rows, {megabytes} MB")
        ways = {"selfinstruct convert": _OURS, "datasets": _THEIRS}
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, code in ways.items():
                results[name].append(measure(code, source, Path(folder) / "out.jsonl"))
        medians = {name: statistics.median(seconds for seconds, _ in of) for name, of in results.items()}
        for name, of in results.items():
            peak = max(memory for _, memory in of)
            click.echo(f"{name:22} {medians[name]:7.1f} s   {number / medians[name]:10,.0f} rows/s   {peak:6,.0f} MiB")
        ours, theirs = medians.values()
        click.echo(f"ratio (theirs / ours)  {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
