"""Commands that work on datasets of any family: convert."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON, OutputFile
from selfinstruct.formats.families import FAMILIES, TreeOptions, family_named
from selfinstruct.text import printable

_READ = [family.name for family in FAMILIES]
_WRITTEN = [family.name for family in FAMILIES if family.write]


@cli.command()
@click.argument("source", metavar="IN")
@click.argument("target", metavar="[OUT]", type=OutputFile(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--from",
    "source_family",
    metavar="FAMILY",
    type=click.Choice(_READ),
    help=f"Family of IN: {', '.join(_READ)}; default: by its content.",
)
@click.option(
    "--to",
    "target_family",
    metavar="FAMILY",
    type=click.Choice(_WRITTEN),
    default="messages",
    show_default=True,
    help=f"Family of OUT: {', '.join(_WRITTEN)}.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do about a record that cannot be read: end, or leave it out and count it.",
)
@click.option(
    "--paths", type=click.IntRange(0), default=1, show_default=True, help="Paths of each tree, the best first; 0: all."
)
@click.option("--language", default="", help="Only trees in this language (ISO 639-1 code).")
@click.option("--synthetic", is_flag=True, help="Also messages of trees that a model wrote.")
@click.option("--reviewed", is_flag=True, help="Only messages of trees that passed the review.")
@click.option(
    "--min-label",
    type=(str, float),
    multiple=True,
    metavar="NAME VALUE",
    help="Least value of a tree's label. Repeatable.",
)
@click.option(
    "--max-label", type=(str, float), multiple=True, metavar="NAME VALUE", help="Greatest value of a label. Repeatable."
)
@click.option(
    "--llama-factory",
    is_flag=True,
    help="Also add OUT to the dataset_info.json beside it, where LLaMA-Factory looks for datasets.",
)
@AS_JSON
def convert(
    source: str,
    target: Path | None,
    source_family: str | None,
    target_family: str,
    on_error: str,
    paths: int,
    language: str,
    synthetic: bool,
    reviewed: bool,
    min_label: tuple[tuple[str, float], ...],
    max_label: tuple[tuple[str, float], ...],
    llama_factory: bool,
    as_json: bool,
) -> None:
    """Convert a dataset into the form that another tool reads.

    IN is a file (.jsonl, .json, .parquet, .tsv, also .gz and .zst), a folder of them, or a dataset on the Hub
    (owner/name). OUT ends in .jsonl, .json or .parquet; default: a name in the working directory. --paths,
    --language, --synthetic, --reviewed and the bounds on labels are for OpenAssistant's conversation trees.

    \b
    Example:
        selfinstruct convert alpaca_data.json train.jsonl --to messages
        selfinstruct convert 2023-04-12_oasst_ready.trees.jsonl.gz oasst.json --to sharegpt --language de --paths 2
    """
    from selfinstruct.console import reading
    from selfinstruct.dataset import convert as library
    from selfinstruct.dataset import tuner_files

    to = family_named(target_family)
    target = target or library.default_target(source, to)
    trees = TreeOptions(paths, language, synthetic, reviewed, min_label, max_label)
    with reading() as tell:
        done = library.convert(
            source,
            target,
            to=to,
            family=family_named(source_family) if source_family else None,
            trees=trees,
            on_error="skip" if on_error == "skip" else "stop",
            progress=lambda rows: tell(f"{rows:,} rows"),
        )
    lines = [*done.sentences(), f"written: {target}"]
    if llama_factory and (entry := tuner_files.llama_factory_entry(target, done)) is not None:
        info = tuner_files.register_with_llama_factory(target, entry)
        lines.append(f"LLaMA-Factory: dataset {tuner_files.entry_name(target)!r} in {info}")
        if done.target == "alpaca":
            lines.append(
                "  It joins instruction and input by one newline; selfinstruct by two, so that prompts differ: "
                "--to messages keeps the same prompt."
            )
    if as_json:
        click.echo(json.dumps(done.to_json() | {"output": str(target)}))
        return
    for line in (*lines, *tuner_files.hints(target, done)):
        click.echo(printable(line))
