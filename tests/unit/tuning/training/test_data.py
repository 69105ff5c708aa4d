"""Reading an exported dataset, and which of its tokens are trained."""

from __future__ import annotations

import json

import pytest

from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats.conversations import Conversation
from tests import tiny_model
from tuning.training import data, prompt_formats
from tuning.training.data import IGNORE_INDEX


@pytest.fixture
def tokenizer():
    words = tiny_model.tokenizer()
    prompt_formats.prepare(words)
    return words


def rows_of(*pairs: tuple[str, str]) -> list[Conversation]:
    return [
        Conversation(str(n), ({"role": "user", "content": q},), ({"role": "assistant", "content": a},))
        for n, (q, a) in enumerate(pairs)
    ]


def trained(row: data.TokenizedRow) -> list[int]:
    assert all(label in (IGNORE_INDEX, token) for token, label in zip(row.input_ids, row.labels, strict=True))
    return [label for label in row.labels if label != IGNORE_INDEX]


def test_load_reads_the_splits_and_takes_missing_validation_for_empty(tmp_path):
    tiny_model.write(tmp_path, train=[tiny_model.row("a", "Q?", "A.")])
    splits = data.load_splits(tmp_path)
    assert splits == {
        "train": [
            Conversation("a", ({"role": "user", "content": "Q?"},), ({"role": "assistant", "content": "A."},), "Q?")
        ],
        "validation_seen": [],
        "validation_unseen": [],
    }


def test_missing_dataset_says_how_to_make_it(tmp_path):
    with pytest.raises(InputError, match=r"train\.jsonl does not exist; export"):
        data.load_splits(tmp_path)


def test_all_broken_rows_are_named_at_once(tmp_path):
    good = tiny_model.row("a", "Q?", "A.")
    tiny_model.write(
        tmp_path,
        train=[good, {**good, "prompt": "Q?"}, {**good, "completion": [{"role": "assistant"}]}],
        validation_seen=[{"id": "b"}],
    )
    with pytest.raises(InputError) as caught:
        data.load_splits(tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "train.jsonl, line 2: `prompt`" in lines[0]
    assert "train.jsonl, line 3: `completion`" in lines[1]
    assert "validation_seen.jsonl, line 1: `prompt` and `completion`" in lines[2]


def test_fingerprint_follows_the_conversations_and_nothing_else(tmp_path):
    first = tiny_model.row("a", "Q?", "A.")

    def of(**splits):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        tiny_model.write(folder, **splits)
        return data.fingerprint(data.load_splits(folder))

    same = of(train=[first])
    assert of(train=[{**first, "origin": "seed"}]) == same
    assert of(train=[tiny_model.row("a", "Q?", "B.")]) != same
    assert of(train=[first], validation_seen=[first]) != of(train=[first], validation_unseen=[first])


def test_only_the_response_and_its_end_are_trained(tokenizer):
    (row,) = data.tokenize(rows_of(("What is the capital of France?", "Paris.")), tokenizer)
    assert tokenizer.decode(row.input_ids) == "<s><|user|>\nWhat is the capital of France?\n<|assistant|>\nParis.</s>"
    assert tokenizer.decode(trained(row)) == "Paris.</s>"
    assert row.labels[-1] == tokenizer.eos_token_id
    assert row.lost_prompt == 0


def test_the_prompt_is_trained_too_when_asked_for(tokenizer):
    (row,) = data.tokenize(rows_of(("Q?", "A.")), tokenizer, completion_only=False)
    assert row.labels == row.input_ids


def test_generation_markers_decide_when_asked_for(tokenizer):
    turns = ({"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A."})
    conversation = [Conversation("a", turns[:1], (*turns[1:], *turns))]
    (everything,) = data.tokenize(conversation, tokenizer)
    (marked,) = data.tokenize(conversation, tokenizer, assistant_template=tokenizer.chat_template)
    assert "Q?" in tokenizer.decode(trained(everything))
    assert tokenizer.decode(trained(marked)) == "A.</s>A.</s>"


def test_a_template_that_writes_the_prompt_otherwise_before_an_answer_is_noticed(tokenizer):
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- m['role'] + ':' + m['content'] -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- 'assistant:<think>' -}}{%- endif -%}"
    )
    (row,) = data.tokenize(rows_of(("Q?", "A.")), tokenizer)
    assert row.lost_prompt > 0
    assert tokenizer.decode(trained(row)).endswith("A.")


@pytest.mark.parametrize("marked", [False, True])
def test_a_control_token_in_a_text_is_trained_as_plain_text(tokenizer, marked):
    template = tokenizer.chat_template if marked else None
    usual, forged = data.tokenize(
        rows_of(("Q?", "A."), ("Fix <s>this</s>", "<s>that</s> ends")), tokenizer, assistant_template=template
    )
    assert forged.labels.count(tokenizer.eos_token_id) == usual.labels.count(tokenizer.eos_token_id) == 1
    assert forged.input_ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(trained(forged)) == "<s>that</s> ends</s>"
    assert tokenizer.decode(forged.input_ids).startswith("<s><|user|>\nFix <s>this</s>\n")
    assert forged.lost_prompt == 0

    (allowed,) = data.tokenize(
        rows_of(("Q?", "a</s>b")), tokenizer, assistant_template=template, allow_control_tokens=True
    )
    assert allowed.labels.count(tokenizer.eos_token_id) == 2


def test_a_template_that_drops_thinking_from_answers_is_noticed(tokenizer):
    thinking = ("Q?", "<think>\nHm.\n</think>\n\nA.")
    (row,) = data.tokenize(rows_of(thinking), tokenizer)
    assert not row.lost_answer
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- m['role'] + ': ' + m['content'].split('</think>')[-1].strip() + eos_token -}}"
        "{%- endfor -%}{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
    )
    row, other = data.tokenize(rows_of(thinking, ("Q?", " A. ")), tokenizer)
    assert tokenizer.decode(trained(row)) == "A.</s>"
    assert (row.lost_answer, other.lost_answer) == (True, False)


@pytest.mark.parametrize("name", ["thinking", "reasoning_content"])
def test_thinking_is_trained_where_the_template_knows_it_by_either_name(tokenizer, name):
    """gpt-oss reads `thinking`, Qwen3 `reasoning_content`."""
    asked, answer = {"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A.", "thinking": "Hm </s>."}
    conversation = Conversation("r", (asked,), (answer,))
    tokenizer.chat_template = (
        "{%- for m in messages -%}{{- m['role'] + ': ' -}}"
        f"{{%- if m.{name} -%}}{{{{- '<think>' + m.{name} + '</think>' -}}}}{{%- endif -%}}"
        "{{- m['content'] + eos_token -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"
    )
    (row,) = data.tokenize([conversation], tokenizer)
    assert tokenizer.decode(trained(row)) == "<think>Hm </s>.</think>A.</s>" and not row.lost_answer
    assert trained(row).count(tokenizer.eos_token_id) == 1, "a control token in what was thought is text"


def test_a_template_that_does_not_know_thinking_is_noticed(tokenizer):
    asked, answer = {"role": "user", "content": "Q?"}, {"role": "assistant", "content": "A.", "thinking": "Hm."}
    (row,) = data.tokenize([Conversation("r", (asked,), (answer,))], tokenizer)
    assert row.lost_answer and "Hm" not in tokenizer.decode(row.input_ids)


def test_a_template_that_refuses_a_row_is_a_fault_of_the_configuration(tokenizer):
    tokenizer.chat_template = "{%- for m in messages -%}{{- m['content'] / 2 -}}{%- endfor -%}"
    with pytest.raises(
        ConfigError, match=r"^row \S+: the chat template of .* refuses a conversation \(user\): TypeError"
    ):
        data.tokenize(rows_of(("Q?", "A.")), tokenizer)


def test_to_dataset_holds_ids_and_labels(tokenizer):
    rows = data.tokenize(rows_of(("Q?", "A."), ("Why?", "So.")), tokenizer)
    table = data.to_dataset(rows)
    assert table.column_names == ["input_ids", "labels"]
    assert json.loads(json.dumps(table["labels"][1])) == rows[1].labels


def test_no_rows_are_no_rows(tokenizer):
    assert data.tokenize([], tokenizer) == []
