"""What tokenising does to the records, for the data report: lengths, cut texts, lost tokens.

The report is written before there is a tokenizer; its last section is filled in once there is one.
"""

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tael.files import write_text
from tael.page.chart import histogram
from tael.page.page import Html, figure, language, note, table
from tael.page.words import Words, words

__all__ = ["Tokens", "add_tokens", "pending"]

_OPEN, _CLOSE = "<!--tokens-->", "<!--/tokens-->"
_BETWEEN = re.compile(f"{_OPEN}.*?{_CLOSE}", re.DOTALL)


@dataclass(frozen=True)
class Tokens:
    """The tokens of one split, special ones included: what is kept, and what `max_tokens` cuts."""

    texts: int
    kept: int
    cut_texts: int
    lost: int
    shortest: int  # lengths before the cut
    median: int
    p95: int
    longest: int

    @classmethod
    def count(cls, kept: Sequence[int], lost: Sequence[int]) -> "Tokens":
        """Count from the tokens kept and lost of each text of a split, which has some."""
        whole = sorted(a + b for a, b in zip(kept, lost, strict=True))
        return cls(
            len(kept),
            sum(kept),
            sum(map(bool, lost)),
            sum(lost),
            whole[0],
            int(statistics.median(whole)),
            whole[min(len(whole) - 1, int(0.95 * len(whole)))],
            whole[-1],
        )

    @property
    def cut_share(self) -> float:
        """Share of the texts that lose their end."""
        return self.cut_texts / self.texts

    @property
    def lost_share(self) -> float:
        """Share of all tokens that are not seen."""
        return self.lost / (self.kept + self.lost)


def pending(say: Words) -> Html:
    """Return what stands in the section until it is filled in."""
    return Html(f"{_OPEN}{note(say('Known once the texts are tokenised.'))}{_CLOSE}")


def add_tokens(
    folder: Path, lengths: Mapping[str, tuple[Sequence[int], Sequence[int]]], most: int
) -> dict[str, Tokens]:
    """Fill the last section of `report.html` and the key `tokens` of `report.json` in `folder`.

    `lengths` holds, by split, the tokens kept and the tokens lost of each text; `most` is
    `data.max_tokens`. A second call replaces what the first wrote. Returns the counts by split.
    """
    found = {split: Tokens.count(*pair) for split, pair in lengths.items() if len(pair[0])}
    page, facts = folder / "report.html", folder / "report.json"
    if not found or not page.exists() or not facts.exists():
        return found  # a run that began before this section was in the report
    kept, lost = lengths.get("train", next(iter(lengths.values())))
    text = page.read_text("utf-8")
    whole = [a + b for a, b in zip(kept, lost, strict=True)]
    inside = _OPEN + _section(words("data", language(text)), found, whole, most)
    write_text(page, _BETWEEN.sub(lambda _: inside + _CLOSE, text, count=1))
    told = json.loads(facts.read_text("utf-8"))
    told["tokens"] = {
        split: asdict(one) | {"cut_share": one.cut_share, "lost_share": one.lost_share}
        for split, one in found.items()
    }
    write_text(facts, json.dumps(told, indent=1, ensure_ascii=False))
    return found


def _section(say: Words, found: Mapping[str, Tokens], whole: Sequence[int], most: int) -> str:
    cut = sum(one.cut_texts for one in found.values())
    lost = sum(one.lost for one in found.values())
    texts = sum(one.texts for one in found.values())
    tokens = lost + sum(one.kept for one in found.values())
    said = note(say("All texts fit data.max_tokens ({most}): no token is lost.", most=most), "good")
    if cut:
        told = say(
            "{cut} of {texts} texts ({cut_share}) are longer than data.max_tokens ({most}); {lost} "
            "of {tokens} tokens ({lost_share}) are not seen.",
            cut=f"{cut:,}", texts=f"{texts:,}", cut_share=say.percent(cut / texts), most=most,
            lost=f"{lost:,}", tokens=f"{tokens:,}", lost_share=say.percent(lost / tokens),
        )  # fmt: skip
        said = note(told, "warn")
    far = max(most, sorted(whole)[int(0.99 * (len(whole) - 1))])
    chart = histogram(
        [float(min(length, far)) for length in whole],
        x=say("tokens before the cut ({far} or more in the last)", far=f"{far:,}"),
        y=say("texts"),
        title=say("Tokens a text"),
    )
    caption = say("Tokens a text in train, special ones included.")
    return Html(said + figure(chart, caption, _rows(say, found), say("The numbers")))


def _rows(say: Words, found: Mapping[str, Tokens]) -> Html:
    headings = (
        say("Split"), say("Texts"), say("Median"), say("95th percentile"), say("Longest"),
        say("Texts cut (%)"), say("Tokens lost (%)"),
    )  # fmt: skip
    rows = [
        (
            say(split),
            f"{one.texts:,}",
            f"{one.median:,}",
            f"{one.p95:,}",
            f"{one.longest:,}",
            f"{one.cut_texts:,} ({100 * one.cut_share:.1f})",
            f"{one.lost:,} ({100 * one.lost_share:.1f})",
        )
        for split, one in found.items()
    ]
    return table(headings, rows, numeric=set(range(1, len(headings))))
