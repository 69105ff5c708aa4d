"""The model that names the language of a text, loaded once."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def identifier() -> Any:
    """Load the model, which is part of the library: 0.3 s and 100 MiB."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
