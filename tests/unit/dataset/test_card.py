"""The metadata of the dataset's card, as the Hub reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from selfinstruct.dataset.card import languages, size_category
from selfinstruct.dataset.export import export
from tests import finished_run


def front(config: Any) -> dict[str, Any]:
    finished_run.generated(config)
    export(config)
    text = (Path(str(config.output_dir)) / "dataset" / "README.md").read_text()
    read: dict[str, Any] = yaml.safe_load(text.split("---")[1])
    return read


def test_language_size_and_tags_are_those_of_the_rows(make_config: Any) -> None:
    data = front(make_config())
    assert data["language"] == ["en"] and data["size_categories"] == ["n<1K"]
    assert {"synthetic", "selfinstruct"} <= set(data["tags"])
    assert "license" not in data, "a licence is given, never guessed"


def test_the_licence_is_the_users(make_config: Any) -> None:
    config = make_config(export={"license": "cc-by-4.0"})
    assert front(config)["license"] == "cc-by-4.0"
    text = (Path(str(config.output_dir)) / "dataset" / "README.md").read_text()
    assert "The licence of this dataset, `cc-by-4.0`, was given" in text


def test_a_card_that_the_user_edited_keeps_its_text_and_gets_the_new_splits(
    make_config: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    front(config)
    card = Path(str(config.output_dir)) / "dataset" / "README.md"
    written = card.read_text()
    export(config)
    assert card.read_text() == written
    card.write_text(written.replace("---\n", "---\npretty_name: Mine\n", 1) + "\nWritten by me.\n")
    export(config.model_copy(update={"export": config.export.model_copy(update={"include_seeds": True})}))
    head = yaml.safe_load(card.read_text().split("---")[1])
    assert card.read_text().endswith("\nWritten by me.\n") and head["pretty_name"] == "Mine"
    assert head["configs"] != yaml.safe_load(written.split("---")[1])["configs"]
    assert "was edited and keeps its text" in " ".join(capsys.readouterr().err.split())
    card.write_text("---\na: [\n---\nMine alone.")
    export(config)
    assert card.read_text() == "---\na: [\n---\nMine alone."
    card.unlink()
    export(config)
    assert card.read_text() == written


def test_languages_by_their_share() -> None:
    english, german = ["Write a short poem about the old sea."] * 15, ["Erkläre einem Kind, wie eine Brücke hält."] * 5
    assert languages([*english, *german]) == ["en", "de"]
    assert languages([*english * 10, german[0]]) == ["en"]
    assert languages([]) == []


@pytest.mark.parametrize(("rows", "name"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (10**6, "1M<n<10M")])
def test_sizes(rows: int, name: str) -> None:
    assert size_category(rows) == name
