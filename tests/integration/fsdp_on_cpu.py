"""`tuning.sft` under FSDP2 on the CPU, for the tests: torch can do that, and accelerate only does not ask it to.

Without a file of accelerate that says so, the choice of the method does, as it would on GPUs.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from tuning import sft
from tuning.training import arguments
from tuning.training.tuning_method import Choice

_init = AcceleratorState.__init__


def _with_fsdp(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
    _init(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
    if "fsdp_plugin" in self.__dict__:  # Every later instance shares the first one's dictionary.
        self.distributed_type = DistributedType.FSDP


if __name__ == "__main__":
    AcceleratorState.__init__ = _with_fsdp
    if "ACCELERATE_USE_FSDP" not in os.environ:
        arguments._choose = lambda _config, by_user, _device: Choice(
            "lora" if by_user.get("use_peft") else "full", shared=True, reason="it fits if it is shared"
        )
    sys.exit(sft.main())
