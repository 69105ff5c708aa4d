"""Each check finds the fault that is planted for it, and nothing without it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from selfinstruct.engines.control_tokens import ControlTokens
from selfinstruct.errors import InputError
from selfinstruct.formats.conversations import Conversation
from selfinstruct.run.training_record import Finding
from tests import tiny_model
from tests.heavy import Heavy
from tuning.training import data, findings, prompt_formats
from tuning.training.data import IGNORE_INDEX, TokenizedRow
from tuning.training.findings import SequenceLimits

torch = Heavy("torch")

END = 1
LIMITS = SequenceLimits(END, "</s>", max_length=10)


def token_row(
    name: str = "a", prompt: int = 4, answer: int = 3, *, end: bool = True, lost_prompt: int = 0, lost: bool = False
) -> TokenizedRow:
    tail = [9] * answer + [END] * end
    return TokenizedRow(name, [5] * prompt + tail, [IGNORE_INDEX] * prompt + tail, lost_prompt, lost)


def names(found: list[Finding]) -> list[tuple[str, bool, int]]:
    return [(f.name, f.fatal, f.count) for f in found]


def test_good_rows_have_no_findings():
    assert findings.check_rows([token_row("a"), token_row("b", 2, 1)], LIMITS) == []


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ("no_rows", True, 0)),
        ([token_row(answer=0, end=False)] * 2, ("all_masked", True, 2)),
        ([token_row(answer=0, end=False), token_row()], ("masked", False, 1)),
        ([token_row(end=False)] * 2, ("end_not_trained", True, 2)),
        ([token_row(end=False), token_row()], ("end_not_trained", False, 1)),
        ([TokenizedRow("a", [5, 9, END, 9, END], [IGNORE_INDEX, 9, END, 9, END])], ("end_in_text", False, 1)),
        ([token_row(prompt=10)] * 3, ("too_long", True, 3)),
        ([token_row(prompt=10), token_row()], ("too_long", False, 1)),
        ([token_row(answer=8), token_row()], ("cut", False, 1)),
        ([token_row(lost_prompt=2), token_row()], ("prompt_differs", False, 1)),
        ([token_row(lost=True), token_row()], ("answer_differs", False, 1)),
    ],
    ids=lambda value: value[0] + ("!" if value[1] else "") if isinstance(value, tuple) else "rows",
)
def test_planted_fault_is_found_alone(rows, expected):
    assert names(findings.check_rows(rows, LIMITS)) == [expected]


def test_empty_answers_are_counted():
    prompt = ({"role": "user", "content": "Say something."},)
    answers = {"a": "", "b": " \n", "c": "Something."}
    rows = [Conversation(name, prompt, ({"role": "assistant", "content": text},)) for name, text in answers.items()]
    (finding,) = findings.check_answers(rows)
    assert (finding.name, finding.count, finding.examples, finding.fatal) == ("empty_answer", 2, ("a", "b"), False)
    assert findings.check_answers(rows[2:]) == []


def test_control_tokens_in_texts_are_counted():
    tokenizer = tiny_model.tokenizer()
    rows = [
        Conversation(str(number), ({"role": "user", "content": text},), ({"role": "assistant", "content": "A."},))
        for number, text in enumerate(["Close </s> it.", "Is it s>?", "<|user|>"])
    ]
    found_in = ControlTokens(tokenizer).found_in
    (finding,) = findings.check_control_tokens(rows, found_in, allowed=False)
    assert (finding.name, finding.count, finding.examples, finding.fatal) == ("control_tokens", 1, ("0",), False)
    assert "plain text" in finding.message
    (finding,) = findings.check_control_tokens(rows, found_in, allowed=True)
    assert "a text can end a turn" in finding.message
    assert findings.check_control_tokens(rows[1:], found_in, allowed=False) == []


def test_length_counts_rows_tokens_and_names_them():
    (finding,) = findings.check_rows([token_row("long", 4, 8), token_row("longer", 4, 16), token_row("ok")], LIMITS)
    assert finding.examples == ("long", "longer")
    assert "2 rows are longer than max_length 10 (the longest has 21 tokens): 14 tokens" in finding.message


def test_nothing_is_cut_without_a_limit():
    assert findings.check_rows([token_row(answer=30)], SequenceLimits(END, "</s>", None)) == []


@pytest.mark.parametrize(
    ("keeps", "text"),
    [
        ("start", "24 tokens at the ends of their answers are cut, and with them the end token"),
        ("end", "24 tokens at the beginnings of their prompts are cut"),
        ("all", "they are split, and each part is trained without the text before it"),
    ],
)
def test_what_is_cut_follows_what_trl_keeps(keeps, text):
    """Packing by `bfd` keeps the start, by `bfd_split` every part; `--truncation_mode keep_end` the end."""
    (finding,) = findings.check_rows(
        [token_row(prompt=3, answer=30), token_row()], SequenceLimits(END, "</s>", 10, keeps)
    )
    assert (finding.name, finding.count) == ("cut", 1)
    assert text in finding.message


def test_a_prompt_that_fills_the_limit_costs_nothing_where_the_end_is_kept():
    rows = [token_row(prompt=20), token_row()]
    assert names(findings.check_rows(rows, SequenceLimits(END, "</s>", 10))) == [("too_long", False, 1)]
    assert names(findings.check_rows(rows, SequenceLimits(END, "</s>", 10, "end"))) == [("cut", False, 1)]


def test_all_findings_come_at_once_and_fatal_ones_stop():
    rows = [token_row("a", end=False, lost_prompt=1), token_row("b", end=False, answer=20)]
    found = findings.check_rows(rows, LIMITS)
    assert names(found) == [("end_not_trained", True, 2), ("cut", False, 1), ("prompt_differs", False, 1)]
    with pytest.raises(InputError) as caught:
        findings.require(found)
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["error", "warning", "warning"]
    assert caught.value.exit_code == 4


def test_warnings_do_not_stop():
    findings.require(findings.check_rows([token_row(answer=8), token_row()], LIMITS))


def test_padding_that_masks_by_token_id_is_found():
    def by_position(rows):
        width = max(len(row["labels"]) for row in rows)
        padded = [row["labels"] + [IGNORE_INDEX] * (width - len(row["labels"])) for row in rows]
        return {"labels": torch.tensor(padded)}

    def by_token_id(rows):  # what transformers' own collator does with the pad token's id, here the end token's
        labels = by_position(rows)["labels"]
        labels[labels == END] = IGNORE_INDEX
        return {"labels": labels}

    rows = [token_row("a"), token_row("b", answer=7)]
    assert findings.check_padding(by_position, rows, END) == []
    assert names(findings.check_padding(by_token_id, rows, END)) == [("end_masked_by_padding", True, 0)]


def adapter(**values):
    defaults = {"use_peft": True, "lora_r": 16, "use_dora": False, "lora_modules_to_save": None}
    return SimpleNamespace(**(defaults | values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"lora_r": 512}, []),
        ({"lora_r": 1024}, ["lora_rank"]),
        ({"lora_r": 1024, "use_peft": False}, []),
        ({"use_dora": True}, ["adapter_kind"]),
        ({"lora_modules_to_save": ["lm_head"]}, ["adapter_kind"]),
    ],
)
def test_adapters_that_vllm_does_not_serve(values, expected):
    assert [finding.name for finding in findings.check_settings(adapter(**values))] == expected
    assert [finding.name for finding in findings.check_settings(adapter(**values), merge="adapter")] == expected
    assert findings.check_settings(adapter(**values), merge="merged") == []


def test_remedy_for_such_an_adapter_follows_what_is_kept():
    alone, both = (findings.check_settings(adapter(lora_r=1024), merge=merge)[0] for merge in ("adapter", "both"))
    assert "--merge both" in alone.message
    assert "the merged weights can be served" in both.message


def test_packing_that_joins_documents_by_design():
    assert findings.check_settings(adapter(), packing="bfd") == findings.check_settings(adapter(), packing=None) == []
    assert names(findings.check_settings(adapter(), packing="wrapped")) == [("documents_attend", False, 0)]


def test_an_adapter_that_holds_a_new_end_token_is_served_merged():
    (finding,) = findings.check_settings(adapter(), merge="adapter", new_end_token=True)
    assert finding.name == "adapter_kind"
    assert "--merge both" in finding.message
    assert findings.check_settings(adapter(), merge="merged", new_end_token=True) == []


def test_a_new_end_token_has_to_be_trained():
    (finding,) = findings.check_new_end("<|im_end|>", trained=False)
    assert (finding.name, finding.fatal) == ("end_not_learnt", False)
    assert "'<|im_end|>'" in finding.message and "--prompt_format default" in finding.message
    assert findings.check_new_end("<|im_end|>", trained=True) == []


def test_an_end_token_that_the_model_names_and_never_learnt_is_said_aloud():
    (finding,) = findings.check_new_end("</s>", trained=True, named=True)
    assert finding.name == "end_unlearnt" and "this training changes that row" in finding.message
    (finding,) = findings.check_new_end("</s>", trained=False, named=True)
    assert finding.name == "end_not_learnt" and "--lora_modules_to_save lm_head" in finding.message


class Mixing:
    """Predicts from the mean of what it sees: of a document alone, or of everything before it in the block."""

    def __init__(self, apart: bool) -> None:
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(16, 8)
        self.apart = apart

    def __call__(self, batch):
        parts = batch["ids"].split(batch["lengths"]) if self.apart else [batch["ids"]]
        means = [self.embedding(ids).cumsum(0) / torch.arange(1, len(ids) + 1)[:, None] for ids in parts]
        return torch.cat(means)[None].detach()


def collate(rows):
    (row,) = rows
    return {"ids": torch.tensor(row["input_ids"]), "lengths": row["seq_lengths"]}


@pytest.mark.parametrize("apart", [True, False])
def test_packed_documents_that_see_each_other_are_found(apart):
    rows = [token_row("a"), token_row("b", answer=7), token_row("c", answer=5)]
    found = findings.check_packing(Mixing(apart), collate, rows, tolerance=1e-5, num_ids=16)
    assert names(found) == ([] if apart else [("documents_attend", True, 0)])
    assert findings.check_packing(Mixing(apart), collate, rows[:1], tolerance=1e-5, num_ids=16) == []


@pytest.mark.parametrize("apart", [True, False])
def test_a_first_pass_that_comes_out_a_little_different_decides_nothing(apart):
    model, passes = Mixing(apart), []

    def logits(batch):
        passes.append(batch)
        return model(batch) * (1.001 if len(passes) == 1 else 1)

    rows = [token_row("a"), token_row("b", answer=7)]
    found = findings.check_packing(logits, collate, rows, tolerance=1e-5, num_ids=16)
    assert names(found) == ([] if apart else [("documents_attend", True, 0)])


def conversation(name: str, *completion: str) -> Conversation:
    turns = [{"role": role, "content": "text"} for role in completion]
    return Conversation(name, ({"role": "user", "content": "Q"},), tuple(turns))


def test_a_template_without_generation_markers_matters_where_they_decide():
    plain, mixed = conversation("a", "assistant"), conversation("b", "assistant", "user", "assistant")
    assert findings.check_template([plain, mixed], has_markers=True, assistant_only_loss=True) == []
    assert findings.check_template([plain], has_markers=False, assistant_only_loss=False) == []
    assert names(findings.check_template([plain, mixed], has_markers=False, assistant_only_loss=False)) == [
        ("no_generation_markers", False, 1)
    ]
    assert names(findings.check_template([plain], has_markers=False, assistant_only_loss=True)) == [
        ("no_generation_markers", True, 0)
    ]


@pytest.fixture
def shown_row():
    tokenizer = tiny_model.tokenizer()
    prompt_formats.prepare(tokenizer)
    rows = [Conversation("a", ({"role": "user", "content": "Q" * 200},), ({"role": "assistant", "content": "A"},))]
    (row,) = data.tokenize(rows, tokenizer)
    return row, tokenizer


def test_show_row_marks_trained_tokens(shown_row):
    row, tokenizer = shown_row
    head, masked, trained = findings.show_row(row, tokenizer)
    assert head == f"row a: {len(row.input_ids)} tokens, 2 of them trained"
    assert trained == "  trained A│</s>"
    assert masked.strip().startswith("<s>│<|│user│|>")
    assert f"│... {len(row.input_ids) - 2 - 60} tokens ...│" in masked


def test_show_row_in_full_holds_every_token(shown_row):
    row, tokenizer = shown_row
    _, *lines = findings.show_row(row, tokenizer, full=True)
    assert len(lines) == len(row.input_ids)
    assert [line.split("trained ")[1] for line in lines if "trained" in line] == ["'A'", "'</s>'"]
