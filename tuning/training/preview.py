"""What a training would be, said before there is anything to train on. Preflight starts it as a process of its own.

    python -m tuning.training.preview '{"memory": 85899345920, "processes": 8, "shared": false}' ARGUMENTS OF tuning.sft

It prints one line of JSON: `{"error": MESSAGE}`, or the fields of `TuningPreview`. The first argument
says what GPUs the training will have; `null`: none.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from selfinstruct.errors import SelfInstructError
from tuning.training.arguments import here, parse
from tuning.training.method import Device
from tuning.training.prompt_formats import template_at


def preview(gpus: Mapping[str, Any] | None, argv: Sequence[str]) -> dict[str, Any]:
    """Return what is printed.

    Args:
        gpus: fields of `Device`; None: the training runs on the CPU.
        argv: arguments of the training.
    """
    device = here()
    planned = Device(cuda=False, bf16=False)
    if gpus is not None:
        planned = replace(device, **gpus, cuda=True, bf16=device.bf16 or not device.cuda)
    try:
        arguments = parse(argv, device, planned)
        arguments.sft_config()
        if (path := arguments.training["chat_template_path"]) is not None:
            template_at(path)
    except SelfInstructError as error:
        return {"error": str(error)}
    choice = arguments.choice
    if choice is None:
        return {"method": "lora" if arguments.model.use_peft else "full"}
    return {
        "method": choice.name,
        "reason": choice.reason,
        "trained": choice.trained,
        "arguments": dict(choice.arguments),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(preview(json.loads(sys.argv[1]), sys.argv[2:])) + "\n")
