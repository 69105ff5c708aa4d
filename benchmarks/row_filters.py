"""How often each filter of rows objects to rows that people count as good.

    python benchmarks/row_filters.py seeds/seed_tasks.jsonl seeds/eval_tasks.jsonl alpaca_data_cleaned.json
    python benchmarks/row_filters.py alpaca_data_cleaned.json --show echo

PATH is a file of tasks (JSON Lines), of rows in Alpaca's form (a JSON list), or a run directory: what the run kept.
Prints a table with one line for each filter, or with `--show` the rows to which a filter objects, to be judged by
reading.
"""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import row_filters
from selfinstruct.generation.frame import load_frame
from selfinstruct.run.directory import RunDirectory


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a run directory, a task file or an Alpaca file."""
    if path.is_dir():
        tasks = list(RunDirectory(path).state().tasks())
    elif path.suffix == ".json":
        return [Row(row["instruction"], row["input"], row["output"]) for row in json.loads(path.read_bytes())]
    else:
        tasks = list(load_seed_tasks([str(path)]))
    return [Row(t.instruction, i.input, i.output, t.is_classification) for t in tasks for i in t.instances]


@click.command(help=__doc__)
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--show", help="Print the rows to which this filter objects.")
@click.option("--language", default="en", show_default=True, help="Of the prompts.")
def main(paths: tuple[Path, ...], show: str | None, language: str) -> None:
    filters = row_filters(load_frame(language))  # type: ignore[arg-type]
    rows = {path: rows_of(path) for path in paths}
    if show is not None:
        for row in (row for of_path in rows.values() for row in of_path):
            if (refused := filters[show](row)) is not None:
                click.echo(
                    f"{refused.evidence}\n  ASKED {row.instruction!r}\n  INPUT {row.input!r}\n  OUTPUT {row.output!r}\n"
                )
        return
    click.echo(f"| filter | {' | '.join(f'{path.name} ({len(of_path):,} rows)' for path, of_path in rows.items())} |")
    click.echo(f"| --- | {' | '.join('---:' for _ in rows)} |")
    for name, objects in filters.items():
        rejected = [sum(objects(row) is not None for row in of_path) for of_path in rows.values()]
        shares = [f"{n} ({n / len(of_path):.2%})" for n, of_path in zip(rejected, rows.values(), strict=True)]
        click.echo(f"| `{name}` | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
