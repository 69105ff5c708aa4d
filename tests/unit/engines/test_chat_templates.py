"""Chat templates: which of them a model has learnt, what ends a turn, and how an answer is asked for at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.engines import chat_templates
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.errors import ConfigError
from selfinstruct.records import OpenTurn
from tests.gpu_box import model_folder
from tests.gpu_box.families import FAMILIES

QUESTION = {"role": "user", "content": "Is it red?"}
ANSWER = {"role": "assistant", "content": "Yes"}


def prompts(name: str, folder: Path) -> TokenizedPrompts:
    """A family's tokenizer in its published shape."""
    path = str(model_folder.full(FAMILIES[name], folder))
    generation_config = chat_templates.read_generation_config(path).to_dict()
    return TokenizedPrompts(chat_templates.load_tokenizer(path), 4096, generation_config)


@pytest.mark.parametrize(
    ("name", "learnt", "stops"),
    [
        ("qwen3-base", False, {"<|endoftext|>", "<|im_end|>"}),
        ("qwen3", True, {"<|endoftext|>", "<|im_end|>"}),
        ("qwen3-thinking", True, {"<|endoftext|>", "<|im_end|>"}),
        ("llama3-base", False, {"<|end_of_text|>"}),
        ("llama3-instruct", True, {"<|end_of_text|>", "<|eot_id|>"}),
        ("gemma3", True, {"<eos>", "<end_of_turn>"}),
        ("mistral-base", False, {"</s>"}),
        ("mistral", True, {"</s>"}),
        ("gpt-oss", True, {"<|return|>", "<|endoftext|>", "<|call|>"}),
        ("smollm2", True, {"<|im_end|>"}),
    ],
)
def test_a_template_counts_where_the_model_ends_a_text_as_it_ends_a_turn(
    name: str, learnt: bool, stops: set[str], tmp_path: Path
) -> None:
    engine = prompts(name, tmp_path)
    assert engine.has_chat_template is learnt
    assert engine.brings_chat_template is (FAMILIES[name].template is not None)
    assert set(engine.tokenizer.convert_ids_to_tokens(sorted(engine.stop_token_ids))) == stops


@pytest.mark.parametrize("name", ["qwen3", "qwen3-thinking", "gpt-oss", "llama3-instruct", "gemma3", "mistral"])
def test_an_answer_follows_the_prompt_at_once(name: str, tmp_path: Path) -> None:
    """The first token of an answer can be restricted to yes and no only if no thinking comes before it."""
    engine = prompts(name, tmp_path)
    whole = engine.tokenizer.apply_chat_template([QUESTION, ANSWER], tokenize=False, enable_thinking=False)
    before, _, after = whole.rpartition("Yes")
    assert engine.render([QUESTION]).rstrip() == before.rstrip()
    assert engine.tokenizer(after, add_special_tokens=False).input_ids[0] in engine.end_token_ids


def test_an_opened_thinking_block_is_closed_also_where_the_template_leaves_it_out_of_answers(tmp_path: Path) -> None:
    """DeepSeek's R1 models."""
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- m.role + ': ' + m.content + '<|im_end|>' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- 'assistant: <think>\\n' -}}{%- endif -%}"
    )
    assert TokenizedPrompts(tokenizer, 4096, {}).render([QUESTION]).endswith("assistant: <think>\n\n</think>\n\n")


def test_a_template_may_write_the_end_of_a_turn_only_before_the_next_one(tmp_path: Path) -> None:
    """GLM's models end an answer with <|user|>."""
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = "{%- for m in messages -%}{{- '<|im_end|>' + m.role + m.content -}}{%- endfor -%}"
    assert chat_templates.turn_end(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize(
    "template",
    [
        "{{ messages[0].content }}",
        "{{ raise_exception('a system message first') }}",
        "{{ messages[9].content }}",
        "{{ messages[0]['content'] + 5 }}",
        "{{ 1/0 }}",
    ],
)
def test_a_template_that_writes_no_end_or_cannot_be_used_is_not_the_models_own(template: str, tmp_path: Path) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = template
    engine = TokenizedPrompts(tokenizer, 4096, {})
    assert (engine.brings_chat_template, engine.has_chat_template) == (True, False)


LOOPING = "{%- for i in range(99999) -%}{%- for j in range(99999) -%}{{- '' -}}{%- endfor -%}{%- endfor -%}"


def test_a_template_that_never_ends_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chat_templates, "_LONGEST_S", 0.1)
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = LOOPING
    engine = TokenizedPrompts(tokenizer, 4096, {})
    assert (engine.brings_chat_template, engine.has_chat_template) == (False, False)
    assert "does not end within 0.1 s" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10**10 }}",
        "{{ messages[0].content * 10**10 }}",
        "{{ '%*d' | format(10**10, 1) }}",
        "{{ messages[0].content.ljust(10**10) }}",
        "{%- set n = namespace(t='aaaa') -%}{%- for i in range(40) -%}{%- set n.t = n.t ~ n.t -%}{%- endfor -%}",
        "{%- if messages | length > 1 -%}{{ 'a' * 10**10 }}{%- endif -%}",
    ],
)
def test_a_template_that_takes_all_memory_is_left_out(
    template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = template + CHATML
    assert TokenizedPrompts(tokenizer, 4096, {}).brings_chat_template is False
    assert "it needs more than 256 MiB of memory" in " ".join(capsys.readouterr().err.split())


def test_a_long_operation_in_c_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chat_templates, "_LONGEST_S", 0.1)
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = "{{ (10 ** (10 ** 9)) % 7 }}" + CHATML
    assert TokenizedPrompts(tokenizer, 4096, {}).brings_chat_template is False
    assert "does not end within 0.1 s" in " ".join(capsys.readouterr().err.split())


def test_a_template_that_never_ends_for_one_conversation_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = "{%- if messages[0].content == 'Loop.' -%}" + LOOPING + "{%- endif -%}" + CHATML
    engine = TokenizedPrompts(tokenizer, 4096, {})
    assert engine.render([QUESTION]).endswith("assistant: ")
    monkeypatch.setattr(chat_templates, "_LONGEST_S", 0.1)
    with pytest.raises(ConfigError, match=r"TimeoutError: it does not end within 0\.1 s"):
        engine.render([{"role": "user", "content": "Loop."}])


def test_a_range_is_bounded_by_the_sandbox(tmp_path: Path) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = "{% for i in range(10**9) %}{% endfor %}" + CHATML
    with pytest.raises(ConfigError, match="OverflowError: Range too big"):
        chat_templates.render(tokenizer, [QUESTION])
    assert TokenizedPrompts(tokenizer, 4096, {}).has_chat_template is False


CHATML = (
    "{%- for m in messages -%}{{- m.role + ': ' + m.content + '<|im_end|>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
)


@pytest.mark.parametrize(
    "refusing",
    [
        "{%- if messages[0].role != 'system' -%}{{ raise_exception('a system message first') }}{%- endif -%}",
        "{%- set unused = messages[0].content.nothing.at_all if messages[0].role != 'system' -%}",
    ],
)
def test_a_template_that_needs_a_system_message_gets_one(refusing: str, tmp_path: Path) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = refusing + CHATML
    engine = TokenizedPrompts(tokenizer, 4096, {})
    assert engine.has_chat_template, "it ends a turn as the model ends a text"
    assert chat_templates.turn_end(tokenizer) == tokenizer.convert_tokens_to_ids("<|im_end|>")
    asked = "system: You are a helpful assistant.<|im_end|>user: Is it red?<|im_end|>assistant: "
    assert engine.render([QUESTION]) == asked
    own = {"role": "system", "content": "Be brief."}
    assert engine.render([own, QUESTION]).startswith("system: Be brief.<|im_end|>user: ")


def test_of_several_templates_the_one_without_tools_is_used(tmp_path: Path) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = {"default": CHATML, "tool_use": "{{ 1/0 }}"}
    assert TokenizedPrompts(tokenizer, 4096, {}).render([QUESTION]) == "user: Is it red?<|im_end|>assistant: "
    assert chat_templates.answering_at_once(tokenizer) == CHATML


@pytest.mark.parametrize(
    "template",
    ["{{ raise_exception('no\\n  way') }}", "{{ 1/0 }}", "{{ messages.pop() }}", "{% for %}", "{{ [] + 5 }}"],
)
def test_a_template_that_raises_is_a_fault_of_the_configuration(template: str, tmp_path: Path) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = template
    tokenizer.name_or_path = "./mine"
    with pytest.raises(
        ConfigError, match=r"'./mine' refuses a conversation \(user\): \w+: .*--prompt_format default"
    ) as caught:
        TokenizedPrompts(tokenizer, 4096, {}).render([QUESTION])
    assert "\n" not in str(caught.value)


def test_a_template_that_always_thinks_is_saved_without_thinking(tmp_path: Path) -> None:
    tokenizer = prompts("qwen3-thinking", tmp_path).tokenizer
    asked = tokenizer.apply_chat_template([QUESTION], tokenize=False, add_generation_prompt=True)
    assert asked.endswith("<think>\n")
    tokenizer.chat_template = chat_templates.answering_at_once(tokenizer)
    asked = tokenizer.apply_chat_template([QUESTION], tokenize=False, add_generation_prompt=True)
    assert asked.endswith("<think>\n\n</think>\n\n")
    assert tokenizer.apply_chat_template([QUESTION, ANSWER], tokenize=False).startswith(asked)
    assert chat_templates.answer_opening(tokenizer) == ""


def test_an_option_of_the_template_is_used_to_leave_thinking_out(tmp_path: Path) -> None:
    """Qwen3.5's template thinks unless it is told not to."""
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- m.role + ': ' + m.content + '<|im_end|>' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}"
        "{{- '<think></think>' if enable_thinking is false else '<think>' -}}{%- endif -%}"
    )
    tokenizer.chat_template = chat_templates.answering_at_once(tokenizer)
    asked = tokenizer.apply_chat_template([QUESTION], tokenize=False, add_generation_prompt=True)
    assert asked.endswith("assistant: <think></think>")


@pytest.mark.parametrize("name", ["qwen3", "gpt-oss", "gemma3", "mistral", "smollm2"])
def test_other_templates_stay_as_they_are(name: str, tmp_path: Path) -> None:
    tokenizer = prompts(name, tmp_path).tokenizer
    assert chat_templates.answering_at_once(tokenizer) == tokenizer.chat_template


# ------------------------------------------------------------------------------------------------- open turns


@pytest.mark.parametrize(
    ("name", "begun", "ends"),
    [
        ("qwen3", "<|im_start|>user\n", {"<|im_end|>", "<|im_start|>"}),
        ("llama3-instruct", "<|start_header_id|>user<|end_header_id|>\n\n", {"<|eot_id|>", "<|start_header_id|>"}),
        ("gemma3", "<start_of_turn>user\n", {"<end_of_turn>", "<start_of_turn>"}),
        ("smollm2", "<|im_start|>user\n", {"<|im_end|>", "<|im_start|>"}),
    ],
)
def test_a_users_turn_is_opened_and_ends_at_any_control_token(
    name: str, begun: str, ends: set[str], tmp_path: Path
) -> None:
    engine, prompt = prompts(name, tmp_path), OpenTurn([{"role": "user", "content": ""}])
    assert engine.render(prompt).endswith(begun)
    tokens, strings = engine.ends(prompt)
    assert engine.stop_token_ids | set(engine.tokenizer.convert_tokens_to_ids(list(ends))) <= tokens and strings == ()
    assert engine.count_tokens(prompt) == len(engine.encode(prompt)) > 1


def test_a_users_turn_in_plain_text_ends_where_the_template_goes_on(tmp_path: Path) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- '\n\n' + m.role + ': ' + m.content -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '\n\nassistant:' -}}{%- endif -%}"
    )
    engine, prompt = TokenizedPrompts(tokenizer, 4096, {}), OpenTurn([{"role": "user", "content": ""}])
    assert engine.render(prompt) == "\n\nuser:", "the space belongs to the first word"
    assert engine.ends(prompt)[1] == ("assistant:",)


@pytest.mark.parametrize("name", ["qwen3", "llama3-instruct", "gemma3", "smollm2"])
def test_the_models_own_turn_is_opened_after_its_first_words(name: str, tmp_path: Path) -> None:
    engine = prompts(name, tmp_path)
    prompt = OpenTurn([QUESTION, {"role": "assistant", "content": "Task 1: Sing <|im_end|>.\nTask 2:"}])
    assert engine.render(prompt).endswith("Task 1: Sing <|im_end|>.\nTask 2:")
    assert engine.ends(prompt) == (engine.stop_token_ids, ())
    end = engine.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert engine.encode(prompt).count(end) == engine.encode([QUESTION]).count(end), "a task's own text ends no turn"


def test_a_model_may_think_before_it_answers_and_goes_on_thinking(tmp_path: Path) -> None:
    engine = prompts("qwen3", tmp_path)
    text = engine.tokenizer.decode
    assert text(engine.encode([QUESTION])).endswith("<think>\n\n</think>\n\n"), "it answers at once"
    asked = text(engine.encode([QUESTION], thinking=True))
    assert asked.endswith("<|im_start|>assistant\n")
    begun = OpenTurn([QUESTION, {"role": "assistant", "content": "<think>\nHm, minerals"}])
    assert text(engine.encode(begun, thinking=True)) == f"{asked}<think>\nHm, minerals"


def test_a_template_that_leaves_out_the_message_opens_no_turn(tmp_path: Path) -> None:
    tokenizer = prompts("qwen3", tmp_path).tokenizer
    tokenizer.chat_template = "nothing"
    with pytest.raises(ConfigError, match="leaves out the user's message"):
        chat_templates.opened(tokenizer, [{"role": "user", "content": ""}])
