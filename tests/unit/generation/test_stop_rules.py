"""What is said where a run ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.errors import InputError
from selfinstruct.generation.stop_rules import require_instances
from selfinstruct.records import Instruction
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.state import RunState


def test_accepted_instructions_without_any_instance_are_an_error(tmp_path: Path) -> None:
    run, state = RunDirectory(tmp_path), RunState()
    require_instances(run, state)
    state.pool.append(Instruction("p000000-00", "Name a river in Asia.", 0))
    state.failures["instances", "no_instances"] = 2
    state.instances_rejected["truncated"] = 3
    with pytest.raises(InputError) as error:
        require_instances(run, state)
    assert f"{tmp_path}: none of the 1 accepted instructions has an instance" in str(error.value)
    assert "instances requests failed (no_instances) 2, instances rejected (truncated) 3" in str(error.value)
    state.num_instances = 1
    require_instances(run, state)
