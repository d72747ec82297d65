"""Which language a text is in, by py3langid: 4.6 MB, no network, half a millisecond a text."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from tael.errors import UsageError

__all__ = ["is_in"]

_LEAST = 0.1  # together, for the wanted languages: a short text is seldom surer than this
_HEAD = 2000  # characters are plenty, and a book takes no longer than a letter
_MACRO = {"zh": ("zh", "wuu", "yue")}  # written alike, in short texts above all


def is_in(text: str, languages: Sequence[str]) -> bool:
    """Say whether `text` may be in one of `languages` (ISO 639 codes); in doubt it may.

    It is not where they have less than a tenth of the probability together. A text without letters
    is in any language. Raises UsageError where py3langid is not installed, or does not know one.
    """
    head = text[:_HEAD]
    if not any(letter.isalpha() for letter in head):
        return True
    identifier = _identifier()
    known = set(identifier.nb_classes)
    unknown = [code for code in languages if code not in known]
    if unknown:
        raise UsageError(
            f"data.clean.languages: no language {unknown[0]!r}; known: {', '.join(sorted(known))}"
        )
    wanted = {part for code in languages for part in _MACRO.get(code, (code,))}
    scores = identifier.rank(head)
    return float(sum(score for code, score in scores if code in wanted)) >= _LEAST


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise UsageError(
            "data.clean.languages needs py3langid, which is not installed; "
            "pip install 'tael[text]' brings it"
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
