"""The packaged configurations of accelerate: it reads each of them, and the plan of a tuning knows what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.config.later_stages import Tune
from tests.heavy import Heavy
from tuning.training.launch import processes_of

config_args = Heavy("accelerate.commands.config.config_args")
FILES = sorted((Path(__file__).parents[4] / "configs/accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_reads_it(path: Path) -> None:
    read = config_args.load_config_from_file(str(path))
    assert read.num_processes == 8 * read.num_machines and str(read.mixed_precision) == "no"
    processes, divided = processes_of(Tune(accelerate_config=str(path)), gpus=8)
    assert (processes, divided) == (read.num_processes, path.stem != "ddp")


def test_there_is_one_for_each_way() -> None:
    assert [path.stem for path in FILES] == ["ddp", "fsdp2", "two_nodes", "zero3"]
