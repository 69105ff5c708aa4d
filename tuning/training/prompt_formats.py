"""Prompt formats: how a conversation becomes text, and what ends an answer.

A model's own chat template is kept. A base model, which has none, gets `templates/default.jinja`; it is saved with the
tuned tokenizer, so that `vllm serve` and transformers prompt the model as it was tuned. Templates of this package hold
`{% generation %}` markers around the answer and need no new token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selfinstruct.errors import ConfigError

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
"""Tokens that vocabularies keep for padding, or that no answer holds; the first that exists pads."""


@dataclass(frozen=True)
class Template:
    """What was decided about a tokenizer.

    Attributes:
        source: `model` (its own), the name of one of this package's templates, or the path that the user gave.
        end_token: the token that ends an answer.
        pad_token: the token that fills up batches.
    """

    source: str
    end_token: str
    pad_token: str


def read(name: str, *, with_bos: bool) -> str:
    """The text of a packaged template, with or without the begin token at its start."""
    text = (_FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    return text if with_bos else text.replace("{{- bos_token -}}\n", "")


def prepare(
    tokenizer: Any, prompt_format: PromptFormat = "auto", end_token: str | None = None, path: str | None = None
) -> Template:
    """Give `tokenizer` the template, the end token and the pad token that it is tuned with.

    Args:
        tokenizer: changed in place; its vocabulary stays as it is.
        prompt_format: `auto` keeps the model's own template and falls back to `default`.
        end_token: ends an answer; else the one that the template writes, else the tokenizer's own.
        path: a Jinja file or a tokenizer whose template to use instead; stands for the model's own.

    Raises:
        ConfigError: the format, the file or the token is not there to be used.
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
    """The special token that the chat template writes after an answer, or None when it writes none.

    A template often ends a turn with another token than the tokenizer's: the base models of Qwen name `<|endoftext|>`
    their end token, while their template writes `<|im_end|>`. The model learns to stop by the latter.
    """
    answer = [{"role": "assistant", "content": "answer"}]
    text = tokenizer.apply_chat_template([*_PROBE, *answer], tokenize=False)
    ids = tokenizer(text.rpartition("answer")[2], add_special_tokens=False)["input_ids"]
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    found = [i for i in ids if i in special]
    return tokenizer.convert_ids_to_tokens(found[0]) if found else None


def _template_at(path: str) -> str:
    """The template of a Jinja file, or of another model's tokenizer (the text alone: no token is added for it)."""
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
    """Whether the tokenizer puts its begin token before a text by itself: so the model was trained."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def _pad_token(tokenizer: Any) -> str:
    """A token for padding that is not the end token where the vocabulary has one; none is added to it."""
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens) | {str(t) for t in tokenizer.added_tokens_decoder.values()}
    for token in (*_PAD_TOKENS, tokenizer.unk_token):
        if token in vocabulary and token in special and token != tokenizer.eos_token:
            return token
    return tokenizer.eos_token  # The labels of padding are masked by position, so the end token is learnt all the same.
