"""Prompt formats: how a conversation becomes text, and which token ends an answer.

A model keeps its own chat template. A base model, which has none or has not learnt it, gets
`chat_templates/default.jinja`. The template is saved with the tuned tokenizer, so that `vllm serve` and transformers
prompt the model as it was tuned. The templates of this package have `{% generation %}` markers around the answer, and
need no new token: an answer ends with the model's own end token.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from selfinstruct.engines import chat_templates
from selfinstruct.errors import ConfigError
from selfinstruct.run.training_record import Template

PromptFormat = Literal["auto", "model", "default", "alpaca", "plain"]
_FOLDER = Path(__file__).parent / "chat_templates"
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
    tokenizer: Any,
    prompt_format: PromptFormat = "auto",
    end_token: str | None = None,
    path: str | None = None,
    *,
    ends: Collection[int] = (),
) -> Template:
    """Set the template, the end token and the pad token of `tokenizer`, and return which ones they are.

    Args:
        tokenizer: changed in place; its vocabulary does not change.
        prompt_format: `auto` keeps the template that the model has learnt, else uses `default`; `model` keeps any.
        end_token: ends an answer; default: the one that the template writes, else the tokenizer's own.
        path: a Jinja file or a tokenizer; its template replaces the model's own.
        ends: the tokens that the model ends a text with, beside the tokenizer's own; they show what it has learnt.

    Raises:
        ConfigError: the format, the file or the token does not exist, or the tokenizer takes no template.
    """
    if not chat_templates.takes_templates(tokenizer):
        raise ConfigError(
            "the model has a tokenizer in Mistral's own format alone, which takes no chat template; tune a copy of it "
            "with the files of transformers (tokenizer.json, tokenizer_config.json)"
        )
    if path is not None:
        tokenizer.chat_template = template_at(path)
    chat_templates.settle(tokenizer)
    if path is not None and not tokenizer.chat_template:
        raise ConfigError(f"--chat_template_path {path}: such a template cannot be trained with; give another one")
    if prompt_format == "model" and not tokenizer.chat_template:
        raise ConfigError(
            "--prompt_format model: the model has no chat template of its own; use `default`, `alpaca` or `plain`"
        )
    source: str = prompt_format
    if prompt_format == "auto":
        learnt = path is not None or chat_templates.is_own(tokenizer, {*ends, tokenizer.eos_token_id} - {None})
        source = "model" if learnt else "default"
    if end_token is not None:
        if end_token not in tokenizer.get_vocab():
            raise ConfigError(f"--eos_token {end_token!r} is not in the model's vocabulary; name a token that is")
        tokenizer.eos_token = end_token
    if source != "model":
        tokenizer.chat_template = read(source, with_bos=_begins_with_bos(tokenizer))
    else:
        tokenizer.chat_template = chat_templates.answering_at_once(tokenizer)
        if end_token is None and (written := chat_templates.turn_end(tokenizer)) is not None:
            ends_with = tokenizer.convert_ids_to_tokens(written)
            tokenizer.chat_template = chat_templates.keeping_text(tokenizer, ends_with)
            tokenizer.eos_token = ends_with
    if tokenizer.eos_token is None:
        raise ConfigError("the tokenizer names no end token, so an answer could not end; name one: --eos_token TOKEN")
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        tokenizer.pad_token = _pad_token(tokenizer)
    return Template(path if path and source == "model" else source, tokenizer.eos_token, tokenizer.pad_token)


def template_at(path: str) -> str:
    """Return the template of a Jinja file, or of another model's tokenizer; no token is added for it.

    Raises:
        ConfigError: it is neither of them.
    """
    if Path(path).is_file():
        return Path(path).read_text(encoding="utf-8")
    try:
        template = chat_templates.load_tokenizer(path).chat_template
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
