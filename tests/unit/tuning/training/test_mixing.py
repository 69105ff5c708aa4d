"""What `--mix` makes of the training set, without a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from selfinstruct.formats.conversations import Conversation
from selfinstruct.records import TRAIN
from tuning.training.arguments import Arguments, TuneArguments
from tuning.training.mixing import mixed


def test_the_runs_own_rows_are_kept_apart_from_unseen_questions(tmp_path: Path) -> None:
    for task in range(4):
        instances = [{"id": f"{task}-{k}", "input": f"in {task} {k}", "output": [f"{k}"]} for k in range(10)]
        value = {"Definition": [f"Do thing {task}."], "Categories": [f"c{task % 2}"], "Instances": instances}
        (tmp_path / f"task{task}.json").write_text(json.dumps(value))
    own = [
        Conversation(f"p{k}", ({"role": "user", "content": f"{k}"},), ({"role": "assistant", "content": "ok"},), text)
        for k, text in enumerate([*(f"Do thing {task}." for task in range(4)), "Sing."])
    ]
    tune = TuneArguments(
        dataset_dir="dataset", mix=[str(tmp_path)], mix_hold_out="category", mix_hold_out_share=0.5, mix_most_seen=1
    )
    rows, (source, of_run) = mixed(
        Arguments(tune, cast(Any, None), {"seed": 42}, {}, None), cast(Any, None), {TRAIN: own}
    )
    (category,) = source.held_out
    assert of_run.sentence() == "dataset: 3 of 5 rows, 2 near a question of an unseen task"
    kept = {row.instruction for row in rows[TRAIN]}
    assert kept == {f"Do thing {task}." for task in range(4) if f"c{task % 2}" != category} | {"Sing."}
    assert (source.read, source.left_out["held out, unseen"]) == (40, 20)
