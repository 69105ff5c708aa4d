"""Tokens of texts by a model's own tokenizer, where its file is on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from selfinstruct.config.schema import DEMO_MODEL
from selfinstruct.packaged import model_path


def token_counter(model: str) -> Callable[[Sequence[str]], int] | None:
    """Return a function that counts the tokens of texts together; None if the model's `tokenizer.json` is not here.

    Args:
        model: a folder, or a name on the Hub, of which only what is cached here is read.
    """
    file = _file(model)
    if file is None:
        return None
    try:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # noqa: BLE001 - the library raises nothing narrower about a file that it cannot read
        return None

    def count(texts: Sequence[str]) -> int:
        # One by one: a batch starts threads, and then the library warns in every process that is started later.
        readable = (text.encode("utf-8", "replace").decode() for text in texts)
        return sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in readable)

    return count


def _file(model: str) -> Path | None:
    folder = model_path() if model == DEMO_MODEL else Path(model)
    if folder.is_dir():
        return folder / "tokenizer.json" if (folder / "tokenizer.json").exists() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(model, "tokenizer.json")
    except HFValidationError:
        return None
    return Path(cached) if isinstance(cached, str) else None
