"""Prompt formats: how a conversation becomes text, and which token ends an answer.

A model keeps its own chat template. A base model, which has none, gets `chat_templates/default.jinja`. The template is
saved with the tuned tokenizer, so that `vllm serve` and transformers prompt the model as it was tuned. The templates of
this package have `{% generation %}` markers around the answer, and need no new token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from selfinstruct.errors import ConfigError
from selfinstruct.run.training_record import Template

PromptFormat = Literal["auto", "model", "default", "alpaca", "plain"]
_FOLDER = Path(__file__).parent / "chat_templates"
_PROBE = [{"role": "user", "content": "question"}]
_PAD_TOKENS = (
    "<pad>",
    "[PAD]",
    "<|pad|>",
    "<|padding|>",
    "<|finetune_right_pad_id|>",
    "<|endoftext|>",
    "<unk>",
    "[UNK]",
)
"""Tokens that vocabularies reserve for padding, or that no answer contains; the first that exists is used."""


def read(name: str, *, with_bos: bool) -> str:
    """Return the text of a packaged template, with or without the begin token at its start."""
    text = (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    return text if with_bos else text.replace("{{- bos_token -}}\n", "")


def prepare(
    tokenizer: Any, prompt_format: PromptFormat = "auto", end_token: str | None = None, path: str | None = None
) -> Template:
    """Set the template, the end token and the pad token of `tokenizer`, and return which ones they are.

    Args:
        tokenizer: changed in place; its vocabulary does not change.
        prompt_format: `auto` keeps the model's own template if it has one, else uses `default`.
        end_token: ends an answer; default: the one that the template writes, else the tokenizer's own.
        path: a Jinja file or a tokenizer; its template replaces the model's own.

    Raises:
        ConfigError: the format, the file or the token does not exist.
    """
    if path is not None:
        tokenizer.chat_template = _template_at(path)
    own = bool(tokenizer.chat_template)
    if prompt_format == "model" and not own:
        raise ConfigError(
            "--prompt_format model: the model has no chat template of its own; use `default`, `alpaca` or `plain`"
        )
    source: str = ("model" if own else "default") if prompt_format == "auto" else prompt_format
    if end_token is not None:
        if end_token not in tokenizer.get_vocab():
            raise ConfigError(f"--eos_token {end_token!r} is not in the model's vocabulary; name a token that is")
        tokenizer.eos_token = end_token
    if source != "model":
        tokenizer.chat_template = read(source, with_bos=_begins_with_bos(tokenizer))
    elif end_token is None and (written := ending(tokenizer)) is not None:
        tokenizer.eos_token = written
    if tokenizer.eos_token is None:
        raise ConfigError("the tokenizer names no end token, so an answer could not end; name one: --eos_token TOKEN")
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = _pad_token(tokenizer)
    return Template(path if path and source == "model" else source, tokenizer.eos_token, tokenizer.pad_token)


def ending(tokenizer: Any) -> str | None:
    """Return the special token that the chat template writes after an answer, or None if it writes none.

    A template often ends a turn with another token than the tokenizer's: the end token of Qwen's base models is
    `<|endoftext|>`, but their template writes `<|im_end|>`. The model learns to stop by the latter.
    """
    answer = [{"role": "assistant", "content": "answer"}]
    text = tokenizer.apply_chat_template([*_PROBE, *answer], tokenize=False)
    ids = tokenizer(text.rpartition("answer")[2], add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    first = next((i for i in ids if i in special), None)
    return None if first is None else tokenizer.convert_ids_to_tokens(first)


def _template_at(path: str) -> str:
    """Return the template of a Jinja file, or of another model's tokenizer; no token is added for it."""
    if Path(path).is_file():
        return Path(path).read_text(encoding="utf-8")
    from transformers import AutoTokenizer

    try:
        template = AutoTokenizer.from_pretrained(path).chat_template
    except (OSError, ValueError) as error:
        raise ConfigError(f"--chat_template_path {path!r} is neither a Jinja file nor a tokenizer: {error}") from error
    if not template:
        raise ConfigError(f"--chat_template_path {path!r}: that tokenizer has no chat template")
    return template


def _begins_with_bos(tokenizer: Any) -> bool:
    """Return whether the tokenizer puts its begin token before every text: then the model was trained with it."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _pad_token(tokenizer: Any) -> str:
    """Return a token for padding from the vocabulary: not the end token, if there is another one."""
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens) | {str(t) for t in tokenizer.added_tokens_decoder.values()}
    for token in (*_PAD_TOKENS, tokenizer.unk_token):
        if token in vocabulary and token in special and token != tokenizer.eos_token:
            return token
    return tokenizer.eos_token  # Labels of padding are masked by position, so the end token is still trained.
