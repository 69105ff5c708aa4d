"""Runs `generate`, `rate` and `tag` if asked to, and `export` on the scripted engine, so that tests can inject faults.

It is a process of its own:

    python -m tests.faults.driver CONFIG.json [LATENCY_SEED]

CONFIG.json holds the configuration; `latency` in it are the seconds that an answer takes at most, `file_limit` a limit
of the size of files in bytes, `load` seconds for which the engine takes to start, `rates` whether answers are scored,
`tags` whether tasks are tagged.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import click

from selfinstruct import cli
from selfinstruct.chain import chain
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.engines.startup import in_lasting_thread
from selfinstruct.generation.filters.language import identify
from selfinstruct.generation.generate import generate
from selfinstruct.generation.rate import rate
from selfinstruct.generation.tag import tag
from tests.conftest import script


@cli.cli.command("drive")
@click.argument("config")
@click.argument("latency_seed", type=int, default=0)
def drive(config: str, latency_seed: int) -> None:
    given = json.loads(Path(config).read_text())
    names = ("latency", "load", "file_limit", "rates", "tags")
    latency, load, limit, rates, tags = (given.pop(name, 0) for name in names)
    if limit:
        identify("Its model is unpacked into a temporary file, which is larger than the limit.", "output")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    async def start() -> Engine:
        print("loading", flush=True)
        if load:
            _, release = await in_lasting_thread(lambda: time.sleep(load), lambda _: None)  # as vLLM is started
            release()
        print("started", flush=True)
        return ScriptedEngine(script, latency=latency, seed=latency_seed)

    generate(Config.model_validate(given), start, start)
    if rates:
        rate(Config.model_validate(given), start)
    if tags:
        tag(Config.model_validate(given), start)
    print("exporting", flush=True)
    chain.export(Config.model_validate(given))


if __name__ == "__main__":
    # A command among the others, so that its errors and signals become messages and exit codes where theirs do.
    cli.cli(["drive", *sys.argv[1:]])
