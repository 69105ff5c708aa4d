"""Few-shot prompts against the length of a context."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from selfinstruct.checks.context_fit import fit_remarks
from selfinstruct.cli import cli
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.records import Instance, SeedTask


def test_the_packaged_seeds_fit_an_ordinary_context() -> None:
    assert fit_remarks(load_seed_tasks(["general"]), 4096) == []


def test_what_a_short_context_cannot_hold_is_said() -> None:
    tasks = [SeedTask(f"s{k}", "Sum up the text.", (Instance("word " * 80, "ok"),), False) for k in range(20)]
    tasks.append(SeedTask("long", "Sum up.", (Instance("word " * 1000, "ok"),), False))
    (few, too_long) = fit_remarks(tasks, 1024)
    assert few.startswith("prompts for instances have room for about ") and "context of 1,024 tokens" in few
    assert too_long.startswith("long: about 1,25") and "cannot show it" in too_long


def test_the_command_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["seeds", "check", "general", "--context-length", "300"])
    assert result.exit_code == 0 and "note: prompts for new tasks have room for about 0 of 6 seeds" in result.stdout
