"""What all groups of options have in common, and the options of sampling, which several of them have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from selfinstruct.config.secrets import secrets


class Section(BaseModel):
    """A group of options. Unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
        defer_build=True,  # `--help` needs no validator; all of them together take a tenth of a second to build.
    )


def as_tuple(value: Any) -> Any:
    """Return one text as a tuple; other values as they are."""
    return (value,) if isinstance(value, str) else value


def refuse_secrets(values: dict[str, Any]) -> None:
    """Raise `ValueError` if values that are written to files and command lines hold keys."""
    if names := list(secrets(values)):
        raise ValueError(
            f"holds keys ({', '.join(names)}); keys are only read from the environment, so that none is "
            "written to a file; leave them out, and set HF_TOKEN (or run `hf auth login`)"
        )


def refuse_unusable_url(url: str) -> str:
    """Return the URL of an endpoint; raise `ValueError` if it is none, or holds a key: it is written to files."""
    if "@" in url or not url.startswith(("http://", "https://")) or list(secrets(url)):
        raise ValueError(
            "must be a URL that begins with http:// or https:// and contains no key; set the key as OPENAI_API_KEY"
        )
    return url


Urls = Annotated[
    tuple[Annotated[str, AfterValidator(refuse_unusable_url)], ...],
    BeforeValidator(as_tuple),
]
"""URLs of endpoints; one may be given as it is."""


class Sampling(Section):
    """How answers are sampled; the names and meanings are those of vLLM's `SamplingParams`."""

    temperature: float = Field(0.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling: probability mass kept, in (0, 1].")
    top_k: int = Field(0, ge=0, description="Keep the k most likely tokens; 0 keeps all.")
    min_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Keep tokens with at least this share of the most likely token's probability; 0 keeps all.",
    )
    presence_penalty: float = Field(
        0.0, ge=-2, le=2, description="Penalty on tokens that are already in the answer, in [-2, 2]."
    )
    frequency_penalty: float = Field(
        0.0, ge=-2, le=2, description="Penalty for each time a token is already in the answer, in [-2, 2]."
    )
    repetition_penalty: float = Field(
        1.0, gt=0, description="Penalty factor on tokens that are already in prompt or answer; 1 is none."
    )
    max_tokens: int = Field(512, ge=1, description="Longest answer, in tokens.")
    sampling_seed: bool = Field(
        False,
        description="Seed every request, so that sampling is repeated as far as the engine computes alike; slower.",
    )
