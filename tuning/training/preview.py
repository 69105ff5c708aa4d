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

from selfinstruct.engines import chat_templates
from selfinstruct.errors import SelfInstructError
from tuning.training.arguments import Arguments, here, parse
from tuning.training.prepare import BaseModel, prepare_tokenizer
from tuning.training.tuning_method import Device


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
        _check_template(arguments)
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


def _check_template(arguments: Arguments) -> None:
    """Check that a template that is asked for takes a question and an answer; one that is chosen here does.

    Raises:
        ConfigError: it does not, or it does not exist.
    """
    if arguments.tune.prompt_format != "model" and arguments.training["chat_template_path"] is None:
        return
    tokenizer, _, _ = prepare_tokenizer(arguments, BaseModel.of(arguments))
    question, answer = {"role": "user", "content": "Name a mineral."}, {"role": "assistant", "content": "Quartz"}
    chat_templates.apply(tokenizer, [question], add_generation_prompt=True)
    chat_templates.apply(tokenizer, [question, answer], add_generation_prompt=False)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(preview(json.loads(sys.argv[1]), sys.argv[2:])) + "\n")
