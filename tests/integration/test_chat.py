"""`selfinstruct chat`: a tuned model beside its base, a conversation, and what scripts read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.errors import ConfigError, InputError
from tests import tiny_model
from tests.gpu_box import model_folder
from tests.gpu_box.families import FAMILIES
from tuning import chat_session, sft
from tuning.training import prompt_formats

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run directory with a model that was trained on its rows."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "journal.jsonl").write_text("{}\n")
    base, dataset = tiny_model.save(folder / "base"), tiny_model.dataset(folder / "dataset", num_rows=4)
    arguments = ["--model_name_or_path", base, "--dataset_dir", dataset, "--output_dir", folder / "model"]
    learn = ["--max_steps=60", "--learning_rate=1e-2", "--eval_strategy=no", "--save_strategy=no"]
    assert sft.main([*map(str, arguments), *learn]) == 0
    return folder


def test_a_run_is_its_tuned_model_beside_its_base(run):
    base = str((run / "base").resolve())
    assert chat_session.models(str(run)) == [
        chat_session.NamedModel("tuned", str(run / "model")),
        chat_session.NamedModel("base", base),
    ]
    assert chat_session.models(str(run), "none") == [chat_session.NamedModel("tuned", str(run / "model"))]
    assert chat_session.models(str(run / "model"), base)[1] == chat_session.NamedModel("base", base)
    assert chat_session.models(base) == [chat_session.NamedModel("base", base)]
    assert chat_session.models(base, "org/other") == [
        chat_session.NamedModel("base", base),
        chat_session.NamedModel("other", "org/other"),
    ]


def test_a_run_without_a_model_says_how_to_tune_one(tmp_path):
    (tmp_path / "journal.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match="selfinstruct tune"):
        chat_session.models(str(tmp_path))


def test_prompts_are_answered_side_by_side(run):
    rows = [json.loads(line) for line in (run / "dataset/train.jsonl").read_text().splitlines()]
    asked = "".join(f"{row['instruction']}\n" for row in rows)
    done = CliRunner().invoke(cli, ["chat", str(run), "--json", "--max-tokens", "12"], input=asked)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["prompt"] for line in lines] == [row["instruction"] for row in rows]
    assert [line["answers"]["tuned"] for line in lines] == [row["output"] for row in rows]
    assert all(line["answers"]["base"] != row["output"] for line, row in zip(lines, rows, strict=True))

    one = CliRunner().invoke(cli, ["chat", str(run), "--against", "none", "--prompt", rows[0]["instruction"]])
    assert one.stdout == f"{rows[0]['output']}\n"
    two = CliRunner().invoke(cli, ["chat", str(run), "--max-tokens", "5", "--prompt", rows[0]["instruction"]])
    lines = two.stdout.split("\n")
    assert lines[:3] == [f"> {rows[0]['instruction']}", "[tuned]", rows[0]["output"]]
    assert lines[3] == "[base]" and " ..." in two.stdout  # the base does not know where to stop


def test_a_conversation_is_remembered_and_forgotten(run):
    (speaker,) = chat_session.load_speakers(chat_session.models(str(run), "none"))
    first = "".join(speaker.answer("apple 0", max_tokens=12))
    list(speaker.answer("again", max_tokens=12))
    assert [message["role"] for message in speaker.messages] == ["user", "assistant"] * 2
    assert speaker.messages[1]["content"] == first.strip()
    speaker.forget()
    assert "".join(speaker.answer("apple 0", max_tokens=12)) == first
    with pytest.raises(InputError, match=r"do not fit into the context of tuned \(512 tokens\)"):
        next(speaker.answer("word " * 300, max_tokens=12))
    assert len(speaker.messages) == 2


def test_an_adapter_answers_beside_its_base(run, tmp_path):
    arguments = ["--model_name_or_path", run / "base", "--dataset_dir", run / "dataset", "--output_dir", tmp_path]
    quick = ["--use_peft", "--merge=adapter", "--max_steps=2", "--eval_strategy=no", "--save_strategy=no"]
    assert sft.main([*map(str, arguments), *quick]) == 0
    tuned, base = chat_session.load_speakers(chat_session.models(str(tmp_path)))
    assert (tuned.name, base.name) == ("tuned", "base")
    answers = ["".join(speaker.answer("apple 0", max_tokens=4)) for speaker in (tuned, base)]
    assert all(answers)


def test_a_base_that_has_not_learnt_its_template_is_asked_like_the_tuned_model_and_stops_at_the_templates_end(
    run, tmp_path
):
    """Also a chat model whose end token got lost ends its turns."""
    base = model_folder.tiny(FAMILIES["qwen3-base"], tmp_path / "base")
    tuned, alone = (
        chat_session.Speaker(chat_session.models(str(run))[0]),
        chat_session.Speaker(chat_session.NamedModel("base", str(base))),
    )
    beside = chat_session.Speaker(chat_session.NamedModel("base", str(base)), like=tuned)
    ends = alone._tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert alone._ends == beside._ends == set(ends)
    assert alone._tokenizer.chat_template == prompt_formats.read("default", with_bos=False)
    assert beside._tokenizer.chat_template == tuned._tokenizer.chat_template


def test_an_answer_may_be_stopped_in_the_middle(run):
    (speaker,) = chat_session.load_speakers(chat_session.models(str(run / "base")))
    pieces = speaker.answer("apple 0", max_tokens=400)
    next(pieces)
    pieces.close()
    assert len(speaker.messages) == 2


def test_a_model_that_is_not_there(tmp_path):
    done = CliRunner().invoke(cli, ["chat", str(tmp_path / "nothing"), "--prompt", "Hello"])
    assert done.exit_code == 2
    assert "no such model" in done.stderr
