"""Check, by their letters, whether the seeds are written in the language of the prompts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfinstruct.generation.filters.script import script_of
from selfinstruct.generation.frame import LANGUAGES, Frame, load_frame
from selfinstruct.records import SeedTask


def language_remark(seeds: Sequence[SeedTask], frame: Frame) -> list[str]:
    """Return a remark if most seed instructions are written in another script than the prompts, else nothing.

    German seeds in English prompts go unnoticed: the letters are the same.
    """
    scripts = Counter(script for seed in seeds if (script := _script(seed.instruction)) is not None)
    if not scripts:
        return []
    script, number = scripts.most_common(1)[0]
    if script in frame.scripts:
        return []
    codes = [code for code in LANGUAGES if script in load_frame(code).scripts]
    advice = " or ".join(f"--prompt-language {code} ({load_frame(code).language})" for code in codes)
    remark = f"{number} of {len(seeds)} seeds are in {script} script, the prompts' own words in {frame.language}"
    return [f"{remark}; see {advice}" if advice else remark]


def _script(text: str) -> str | None:
    """Return the script of most letters."""
    scripts = Counter(script_of(character) for character in text if character.isalpha())
    return scripts.most_common(1)[0][0] if scripts else None
