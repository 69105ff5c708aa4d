"""What a chat template writes around an answer: the token that ends it, and what has to come before it.

A base model often brings the template of its family, which it never learnt: Qwen's base models end a text with
`<|endoftext|>`, and their template ends a turn with `<|im_end|>`. Such a template does not count as the model's own.
Some templates leave the model to think before it answers; they can be made to go straight to the answer. Others refuse
a conversation without a system message; they get one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from selfinstruct.console import console
from selfinstruct.engines.control_tokens import special_ids
from selfinstruct.errors import ConfigError
from selfinstruct.records import Message
from selfinstruct.signals import at_most
from selfinstruct.trial import excess

_QUESTION = {"role": "user", "content": "Name a mineral."}
_WORD = "quartzite"
"""An answer that no template contains."""
_ANSWER = {"role": "assistant", "content": _WORD}
_SYSTEM = "You are a helpful assistant."
_MISTRAL = re.compile("Mistral|Mixtral|Ministral|Pixtral|Voxtral")
_LONGEST_S = 5.0
"""Seconds that a template may take for a conversation; one takes less than a thousandth of it."""
_MOST_MEMORY_MIB = 256
"""Memory that a template may take for a short conversation."""
_OPEN_THINKING = re.compile(r"<(think|thinking|reasoning)>\s*\Z")


def load_tokenizer(source: str, *, trust_remote_code: bool = False, **options: Any) -> Any:
    """Load a model's tokenizer, in the form that has its chat template.

    Mistral's repositories hold two: in the form of transformers, and in one of their own, which transformers prefers
    and which knows no templates. A few hold only the latter.

    Args:
        source: a path, or a name on the Hub.
        trust_remote_code: run the code of the model's tokenizer.
        options: of `AutoTokenizer.from_pretrained`.
    """
    from transformers import AutoTokenizer

    options |= {"trust_remote_code": trust_remote_code}
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    if takes_templates(tokenizer):
        return tokenizer
    other = AutoTokenizer.from_pretrained(source, mistral_format=False, **options)
    return other if other.eos_token else tokenizer  # Without its own files it is a vocabulary without special tokens.


def takes_templates(tokenizer: Any) -> bool:
    """Return whether the tokenizer can have a chat template: those in Mistral's own format cannot."""
    return type(tokenizer).__name__ != "MistralCommonBackend"


def tokenizer_mode(source: str, revision: str | None = None) -> dict[str, str]:
    """Return vLLM's argument for a repository whose tokenizer it would not read in the form that has the template.

    Args:
        source: a path, or a name on the Hub.
        revision: on the Hub.
    """
    from transformers import PretrainedConfig
    from transformers.utils import cached_file

    try:
        config, _ = PretrainedConfig.get_config_dict(source, revision=revision)
        if not _MISTRAL.match("".join(config.get("architectures") or ())):
            return {}
        options = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
        return {"tokenizer_mode": "hf"} if cached_file(source, "tokenizer_config.json", **options) else {}
    except OSError:  # vLLM says what is wrong with the model.
        return {}


def end_token_ids(tokenizer: Any, generation_config: Mapping[str, Any]) -> frozenset[int]:
    """Return every token that the model itself ends a text with.

    Args:
        tokenizer: the model's.
        generation_config: the content of `generation_config.json`; its `eos_token_id` is a token or a list of them.
    """
    ends = generation_config.get("eos_token_id")
    return frozenset({tokenizer.eos_token_id, *(ends if isinstance(ends, list | tuple) else [ends])} - {None})


def read_generation_config(source: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """Return the generation configuration of a model; where it has no file of its own, what its configuration implies.

    Args:
        source: a path, or a name on the Hub.
        revision: on the Hub.
        trust_remote_code: run the code of the model's configuration.
    """
    from transformers import AutoConfig, GenerationConfig

    try:
        return GenerationConfig.from_pretrained(source, revision=revision)
    except OSError:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=trust_remote_code)
        return GenerationConfig.from_model_config(config)


def is_own(tokenizer: Any, ends: Collection[int]) -> bool:
    """Return whether the model has learnt its tokenizer's template: it ends a text as the template ends an answer.

    Args:
        tokenizer: the model's.
        ends: the tokens that the model ends a text with.
    """
    return turn_end(tokenizer) in ends


def turn_end(tokenizer: Any, template: str | None = None) -> int | None:
    """Return the special token that the template writes after an answer; None where it writes none, or cannot be used.

    A template may write it only before the next turn, of which it is then the first token.

    Args:
        tokenizer: a tokenizer of transformers.
        template: used instead of the tokenizer's own.
    """
    if not (template or tokenizer.chat_template):
        return None
    special = special_ids(tokenizer)
    for messages in ([_QUESTION, _ANSWER], [_QUESTION, _ANSWER, _QUESTION]):
        _, answer, after = _rendered(tokenizer, messages, template).rpartition(_WORD)
        ids = tokenizer(after, add_special_tokens=False)["input_ids"] if answer else []
        if (end := next((i for i in ids if i in special), None)) is not None:
            return end
    return None


def settle(tokenizer: Any) -> None:
    """Leave a tokenizer with one template, which takes a conversation without a system message.

    Of several, that is the one for conversations without tools. Where it refuses to go without a system message, it
    gets a general one. One that does not end is left out.

    Args:
        tokenizer: of transformers; changed in place.
    """
    if isinstance(tokenizer.chat_template, dict):
        tokenizer.chat_template = tokenizer.chat_template.get("default")
    template = tokenizer.chat_template
    if not template or not _ends(tokenizer) or _rendered(tokenizer, [_QUESTION], None, add_generation_prompt=True):
        return
    system = "{'role': 'system', 'content': " + repr(_SYSTEM) + "}"
    with_system = (
        "{%- if messages[0]['role'] != 'system' -%}{%- set messages = [" + system + "] + messages -%}{%- endif -%}"
    )
    if _rendered(tokenizer, [_QUESTION], with_system + template, add_generation_prompt=True):
        tokenizer.chat_template = with_system + template


def _ends(tokenizer: Any) -> bool:
    """Return whether the rendering of the tokenizer's template ends; remove a template whose rendering does not."""
    if fault := excess(lambda: _try(tokenizer), seconds=_LONGEST_S, mebibytes=_MOST_MEMORY_MIB):
        name = tokenizer.name_or_path
        console.print(f"left out: the chat template of {name!r}: {fault}; the model is used without it", markup=False)
        tokenizer.chat_template = None
    return not fault


def _try(tokenizer: Any) -> None:
    """Render conversations of the forms in which the model will be asked, refused ones too."""
    for messages in ([_QUESTION], [_QUESTION, _ANSWER, _QUESTION], [{"role": "system", "content": _SYSTEM}, _QUESTION]):
        for asks in (True, False):
            try:
                apply(tokenizer, messages, add_generation_prompt=asks)
            except ConfigError as refused:
                if isinstance(refused.__cause__, MemoryError):
                    raise refused.__cause__ from None


def keeping_text(tokenizer: Any, eos_token: str) -> str:
    """Return the tokenizer's template, changed where it would write another text once the end token is renamed.

    Args:
        tokenizer: of transformers.
        eos_token: its new end token; the template goes on writing the present one.
    """
    template, before = str(tokenizer.chat_template), tokenizer.eos_token
    messages = [_QUESTION, _ANSWER, _QUESTION]
    if before in (None, eos_token) or _rendered(tokenizer, messages, template) == _rendered(
        tokenizer, messages, template, eos_token=eos_token
    ):
        return template
    return "{%- set eos_token = " + repr(before) + " -%}" + template


def answer_opening(tokenizer: Any, template: str | None = None) -> str:
    """Return the text that follows the template's generation prompt where an answer follows at once.

    gpt-oss's template leaves the channel to the model, and a thinking model's opens a thinking block. An answer that
    begins with its first token has to be asked for: in the final channel, after an empty block. Most templates need
    nothing.

    Args:
        tokenizer: a tokenizer of transformers.
        template: used instead of the tokenizer's own.
    """
    asked = _rendered(tokenizer, [_QUESTION], template, add_generation_prompt=True)
    before, answer, _ = _rendered(tokenizer, [_QUESTION, _ANSWER], template).rpartition(_WORD)
    if answer and before.startswith(asked) and before[len(asked) :].strip():
        return before[len(asked) :]
    return _closed(asked)


def answering_at_once(tokenizer: Any) -> str:
    """Return the tokenizer's template, changed where its generation prompt opens a thinking block: it stays empty.

    A model that is tuned on answers without thinking is asked in the same form as it was tuned.
    """
    template = str(tokenizer.chat_template)
    asked = _rendered(tokenizer, [_QUESTION], template, add_generation_prompt=True, enable_thinking=None)
    if not (closing := _closed(asked)):
        return template
    without = "{%- set enable_thinking = false -%}" + template
    if not _closed(_rendered(tokenizer, [_QUESTION], without, add_generation_prompt=True)):
        return without
    return template + "{%- if add_generation_prompt -%}{{- " + repr(closing) + " -}}{%- endif -%}"


def render(
    tokenizer: Any,
    messages: list[Message],
    template: str | None = None,
    *,
    add_generation_prompt: bool = True,
    thinking: bool = False,
) -> str:
    """Return a conversation as text, without thinking where the template has an option for it.

    Args:
        tokenizer: a tokenizer of transformers.
        messages: the conversation.
        template: used instead of the tokenizer's own.
        add_generation_prompt: end in what comes before an answer.
        thinking: let the model think before it answers.

    Raises:
        ConfigError: the template refuses the conversation.
    """
    # Thinking would use up the answer's tokens before it begins. Templates without this option ignore it.
    return apply(tokenizer, messages, template, add_generation_prompt=add_generation_prompt, enable_thinking=thinking)


def opened(tokenizer: Any, messages: list[Message], template: str | None = None) -> tuple[str, str]:
    """Return a conversation as text up to where its last message ends, and what the template writes after that.

    Args:
        tokenizer: a tokenizer of transformers.
        messages: the conversation; the last message may be empty.
        template: used instead of the tokenizer's own.

    Raises:
        ConfigError: the template refuses the conversation, or leaves out its last message.
    """
    *before, last = messages
    ended = [*before, {**last, "content": last["content"] + _WORD}]
    begun, word, after = render(tokenizer, ended, template, add_generation_prompt=last["role"] == "user").rpartition(
        _WORD
    )
    if not word:
        raise ConfigError(f"the chat template of {tokenizer.name_or_path!r} leaves out the {last['role']}'s message")
    # A space before the text belongs to its first token, which the model is to write.
    return (begun if last["content"] else begun.rstrip(" ")), after


def apply(
    tokenizer: Any, messages: list[Message], template: str | None = None, *, add_generation_prompt: bool, **options: Any
) -> str:
    """Return a conversation as text, as the template writes it.

    Args:
        tokenizer: a tokenizer of transformers.
        messages: the conversation.
        template: used instead of the tokenizer's own.
        add_generation_prompt: end in what comes before an answer.
        options: of the template.

    Raises:
        ConfigError: the template refuses the conversation.
    """
    options["add_generation_prompt"] = add_generation_prompt
    try:
        with at_most(_LONGEST_S):
            return str(tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template, **options))
    except Exception as error:  # A template is a program: it raises Python's own errors too, 1/0 for example.
        roles = ", ".join(message["role"] for message in messages)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"the chat template of {tokenizer.name_or_path!r} refuses a conversation ({roles:.80}): {reason:.300}; "
            "tune with another one (--prompt_format default), or generate by --prompting completion"
        ) from error


def _rendered(tokenizer: Any, messages: list[Message], template: str | None, **options: Any) -> str:
    """Render a probe; a template that refuses it writes nothing."""
    options = {"add_generation_prompt": False, "enable_thinking": False} | options
    used = {name: value for name, value in options.items() if value is not None}
    try:
        return apply(tokenizer, messages, template, **used)
    except ConfigError:
        return ""


def _closed(asked: str) -> str:
    """Return what closes the thinking block at the end of a generation prompt; nothing where there is none."""
    opened = _OPEN_THINKING.search(asked)
    if opened is None:
        return ""
    return ("\n" if opened.group().endswith("\n") else "\n\n") + f"</{opened[1]}>\n\n"
