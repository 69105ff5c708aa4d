"""The `push` command: put a run's dataset and model on the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON, RUN
from selfinstruct.text import counted, size_text


@cli.command()
@RUN
@click.option("--dataset", metavar="NAME", help="Repository of the dataset: NAME, or OWNER/NAME.")
@click.option("--model", metavar="NAME", help="Repository of the tuned model: NAME, or OWNER/NAME.")
@click.option("--public", is_flag=True, help="Let everybody see a repository that is made.  [default: private]")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and ask the Hub nothing.")
@AS_JSON
def push(run: Path, dataset: str | None, model: str | None, public: bool, dry_run: bool, as_json: bool) -> None:
    """Put a run's dataset and model on the Hugging Face Hub.

    Repositories are made as private ones. The same command continues an upload that broke off. Checkpoints are not
    sent, and of paths of this machine their last part alone. HF_TOKEN or `hf auth login` names the account,
    HF_ENDPOINT another Hub.

    \b
    Example:
        selfinstruct push runs/first --dataset rivers-instruct --model ada/rivers-8b
        selfinstruct push runs/first --dataset rivers-instruct --dry-run
    """
    from selfinstruct.dataset import push as library

    done = []
    for upload in library.uploads(run, dataset=dataset, model=model):
        click.echo(
            f"{upload.kind} {upload.name}: {counted(len(upload.files), 'file')}, {size_text(upload.size)}",
            err=not dry_run or as_json,
        )
        address = None if dry_run else library.push(upload, public=public)
        done.append({"kind": upload.kind, "name": upload.name, "address": address, "files": dict(upload.files)})
        if not as_json:
            lines = [f"  {name} ({size_text(size)})" for name, size in upload.files] if dry_run else [address or ""]
            click.echo("\n".join(lines))
    if as_json:
        click.echo(json.dumps(done))
