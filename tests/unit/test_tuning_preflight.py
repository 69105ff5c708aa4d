"""Each pre-flight check sees the fault that is planted for it, and keeps quiet without it."""

from __future__ import annotations

import pytest
import torch

from selfinstruct.errors import InputError
from tests import tiny_model
from tuning import data, preflight, templates
from tuning.data import IGNORED, Row, TokenRow
from tuning.preflight import Rule

END = 1
RULE = Rule(END, "</s>", max_length=10)


def token_row(name: str = "a", prompt: int = 4, answer: int = 3, *, end: bool = True, lost_prompt: int = 0) -> TokenRow:
    tail = [9] * answer + [END] * end
    return TokenRow(name, [5] * prompt + tail, [IGNORED] * prompt + tail, lost_prompt)


def names(findings: list[preflight.Finding]) -> list[tuple[str, bool, int]]:
    return [(f.name, f.fatal, f.count) for f in findings]


def test_good_rows_have_no_findings():
    assert preflight.inspect([token_row("a"), token_row("b", 2, 1)], RULE) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ("no_rows", True, 0)),
        ([token_row(answer=0, end=False)] * 2, ("all_masked", True, 2)),
        ([token_row(answer=0, end=False), token_row()], ("masked", False, 1)),
        ([token_row(end=False)] * 2, ("end_not_learnt", True, 2)),
        ([token_row(end=False), token_row()], ("end_not_learnt", False, 1)),
        ([TokenRow("a", [5, 9, END, 9, END], [IGNORED, 9, END, 9, END])], ("end_in_text", False, 1)),
        ([token_row(prompt=10)] * 3, ("too_long", True, 3)),
        ([token_row(prompt=10), token_row()], ("too_long", False, 1)),
        ([token_row(answer=8), token_row()], ("cut", False, 1)),
        ([token_row(lost_prompt=2), token_row()], ("prompt_differs", False, 1)),
    ],
    ids=lambda value: value[0] + ("!" if value[1] else "") if isinstance(value, tuple) else "rows",
)
def test_planted_fault_is_found_alone(rows, expected):
    assert names(preflight.inspect(rows, RULE)) == [expected]


def test_length_counts_rows_tokens_and_names_them():
    (found,) = preflight.inspect([token_row("long", 4, 8), token_row("longer", 4, 16), token_row("ok")], RULE)
    assert found.examples == ("long", "longer")
    assert "2 rows are longer than max_length 10 (the longest has 21 tokens): 14 tokens" in found.message


@pytest.mark.parametrize("rule", [Rule(END, "</s>", None), Rule(END, "</s>", 10, packing=True)])
def test_nothing_is_cut_without_a_limit_or_with_packing(rule):
    assert preflight.inspect([token_row(answer=30)], rule) == []


def test_all_findings_come_at_once_and_fatal_ones_stop():
    rows = [token_row("a", end=False, lost_prompt=1), token_row("b", end=False, answer=20)]
    findings = preflight.inspect(rows, RULE)
    assert names(findings) == [("end_not_learnt", True, 2), ("cut", False, 1), ("prompt_differs", False, 1)]
    with pytest.raises(InputError) as caught:
        preflight.require(findings)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["error", "warning", "warning"]
    assert caught.value.exit_code == 4


def test_warnings_do_not_stop():
    preflight.require(preflight.inspect([token_row(answer=8), token_row()], RULE))


def test_leak_is_found_whatever_the_spacing():
    def row(name: str, text: str) -> Row:
        return Row(name, ({"role": "user", "content": text},), ({"role": "assistant", "content": name},))

    train = [row("a", "Name a colour.\n"), row("b", "Name a fruit.")]
    (found,) = preflight.leaked(train, [row("c", "Name a colour.")])
    assert (found.name, found.count, found.examples) == ("leak", 1, ("a",))
    assert preflight.leaked(train, [row("c", "Name a town.")]) == []


def test_padding_that_masks_by_token_id_is_found():
    def by_position(rows):
        width = max(len(row["labels"]) for row in rows)
        padded = [row["labels"] + [IGNORED] * (width - len(row["labels"])) for row in rows]
        return {"labels": torch.tensor(padded)}

    def by_token_id(rows):  # what transformers' own collator does with the pad token's id, here the end token's
        labels = by_position(rows)["labels"]
        labels[labels == END] = IGNORED
        return {"labels": labels}

    rows = [token_row("a"), token_row("b", answer=7)]
    assert preflight.padding(by_position, rows, END) == []
    assert names(preflight.padding(by_token_id, rows, END)) == [("end_masked_by_padding", True, 0)]


def test_rank_above_what_vllm_serves():
    assert preflight.settings(lora_rank=512) == preflight.settings(lora_rank=None) == []
    assert names(preflight.settings(lora_rank=1024)) == [("lora_rank", False, 0)]


def test_show_row_marks_what_is_learnt():
    tokenizer = tiny_model.tokenizer()
    templates.prepare(tokenizer)
    rows = [Row("a", ({"role": "user", "content": "Q"},), ({"role": "assistant", "content": "A"},))]
    (row,) = data.tokenize(rows, tokenizer)
    head, *lines = preflight.show_row(row, tokenizer)
    assert head == f"row a: {len(row.input_ids)} tokens, 2 of them learnt"
    assert len(lines) == len(row.input_ids)
    assert [line.split("learnt ")[1] for line in lines if "learnt" in line] == ["'A'", "'</s>'"]
