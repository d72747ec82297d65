"""Does a change of the recipe help? Both recipes over the same seeds, judged in pairs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from tael.evaluate.seeds import Effect, difference_over_seeds, mean_over_seeds
from tael.evaluate.wording import difference, distance, duration, figure, is_share, named, speaking
from tael.files import write_text
from tael.page import page
from tael.page.page import Html, Section
from tael.page.words import Lang, Words
from tael.task.metrics import Outcomes

__all__ = ["Ablation", "Pair", "ablation", "write_ablation"]

_SHOWN = ("accuracy", "f1", "auroc", "mcc", "ece", "r2", "rmse", "mae", "spearman")


@dataclass(frozen=True)
class Pair:
    """The two runs of one seed, on the records that both answered; `keys` names those."""

    seed: int
    base: Outcomes
    changed: Outcomes
    keys: Sequence[str]
    seconds: tuple[float, float]  # of training, base and changed


@dataclass(frozen=True)
class Ablation:
    """What a change does to every metric: changed minus base, over seeds and records.

    `metric` is the one that the sentence speaks of; `left_out` records stand in only one of the two
    test splits of a seed and are not compared.
    """

    name: str
    change: str
    metric: str
    split: str
    effects: dict[str, Effect]
    base: dict[str, Effect]
    changed: dict[str, Effect]
    seeds: tuple[int, ...]
    left_out: int
    seconds: tuple[float, float]  # mean of training, base and changed
    recipe: tuple[str, ...]  # the keys that differ, with both values

    def to_json(self, say: Words) -> dict[str, Any]:
        """Return plain JSON values."""
        parts = {"differences": self.effects, "base": self.base, "changed": self.changed}
        return {
            "name": self.name,
            "change": self.change,
            "sentence": sentence(say, self),
            "metric": self.metric,
            "split": self.split,
            "seeds": self.seeds,
            **{key: {m: e.to_json() for m, e in part.items()} for key, part in parts.items()},
            "left_out": self.left_out,
            "seconds": {"base": self.seconds[0], "changed": self.seconds[1]},
            "recipe": self.recipe,
        }


def ablation(
    pairs: Sequence[Pair],
    *,
    name: str,
    change: str,
    metric: str,
    split: str,
    left_out: int,
    recipe: Sequence[str],
    resamples: int = 500,
) -> Ablation:
    """Compare the two recipes over all seeds; a metric that any run lacks is left out."""
    defined = _defined(pairs)
    metrics = [metric, *(one for one in _SHOWN if one in defined and one != metric)]
    both = [(pair.changed, pair.base) for pair in pairs]
    keys = [pair.keys for pair in pairs]
    return Ablation(
        name, change, metric, split,
        {
            one: difference_over_seeds(both, one, keys=keys, resamples=resamples)
            for one in metrics
        },
        _means([pair.base for pair in pairs], metrics, keys, resamples),
        _means([pair.changed for pair in pairs], metrics, keys, resamples),
        tuple(pair.seed for pair in pairs),
        left_out,
        (fmean(pair.seconds[0] for pair in pairs), fmean(pair.seconds[1] for pair in pairs)),
        tuple(recipe),
    )  # fmt: skip


def write_ablation(folder: Path, found: Ablation, lang: Lang) -> str:
    """Write `ablation.html` and `ablation.json` into `folder`; return the sentence."""
    say = speaking(lang)
    told = sentence(say, found)
    sections = [
        Section(say("What changes"), _effects(say, found)),
        Section(say("Seed by seed"), _by_seed(say, found)),
        Section(say("The two recipes"), page.bullets(found.recipe)),
        Section(say("How it was judged"), _method(say, found)),
    ]
    title = say("{name}: what {change} does", name=found.name, change=found.change)
    write_text(folder / "ablation.html", page.render(title, told, sections, lang=lang))
    values = json.dumps(found.to_json(say), ensure_ascii=False, indent=1, allow_nan=False)
    write_text(folder / "ablation.json", values + "\n")
    return told


def sentence(say: Words, found: Ablation) -> str:
    """Return the answer in one sentence."""
    effect = found.effects[found.metric]
    values = {
        "change": found.change, "metric": named(say, found.metric), "split": say(found.split),
        "size": difference(found.metric, effect.value),
        "low": difference(found.metric, effect.low), "high": difference(found.metric, effect.high),
        "seeds": len(found.seeds),
    }  # fmt: skip
    if is_share(found.metric):
        values["size"] = say("{points} points", points=values["size"])
    text = say(
        "{change} changes {metric} on {split} by {size} ({low} to {high}) over {seeds} seeds",
        **values,
    )
    if not effect.proved:
        return text + say(": no difference is proved.")
    return text + (say(": proved, it helps.") if effect.gain > 0 else say(": proved, it harms."))


def _defined(pairs: Sequence[Pair]) -> set[str]:
    found = [
        {
            name
            for name, value_R in one.metrics(np.ones((1, one.size))).items()
            if np.isfinite(value_R).all()
        }
        for pair in pairs
        for one in (pair.base, pair.changed)
    ]
    return set.intersection(*found)


def _means(
    found: Sequence[Outcomes],
    metrics: Sequence[str],
    keys: Sequence[Sequence[str]],
    resamples: int,
) -> dict[str, Effect]:
    return {
        metric: mean_over_seeds(found, metric, keys=keys, resamples=resamples) for metric in metrics
    }


def _effects(say: Words, found: Ablation) -> Html:
    rows = []
    for metric, effect in found.effects.items():
        verdict = say("better") if effect.gain > 0 else say("worse")
        ends = f"{difference(metric, effect.low)} – {difference(metric, effect.high)}"
        rows.append(
            (
                named(say, metric),
                _cell(say, metric, found.base[metric]),
                _cell(say, metric, found.changed[metric]),
                page.ranged(difference(metric, effect.value), ends),
                "< 0.001" if effect.p < 0.001 else f"{effect.p:.3f}",
                verdict if effect.proved else say("not proved"),
            )
        )
    headings = (
        say("on {split}", split=say(found.split)), say("the recipe"), say("changed"),
        say("difference"), "p", say("changed is"),
    )  # fmt: skip
    time = say(
        "Training took {base} on average, changed {changed}.",
        base=duration(say, found.seconds[0]), changed=duration(say, found.seconds[1]),
    )  # fmt: skip
    table = page.table(headings, rows, numeric={1, 2, 3, 4}, strong={0})
    return Html(table + page.paragraph(time))


def _cell(say: Words, metric: str, effect: Effect) -> Html:
    scale = 100 if is_share(metric) else 1
    digits = 1 if is_share(metric) else 3
    ends = f"{scale * effect.low:.{digits}f} – {scale * effect.high:.{digits}f}"
    return page.ranged(figure(say, metric, effect.value), ends)


def _by_seed(say: Words, found: Ablation) -> Html:
    metric = found.metric
    base, changed = found.base[metric].by_seed, found.changed[metric].by_seed
    rows = [
        (seed, figure(say, metric, a), figure(say, metric, b), difference(metric, d))
        for seed, a, b, d in zip(
            found.seeds, base, changed, found.effects[metric].by_seed, strict=True
        )
    ]
    headings = (say("seed"), say("the recipe"), say("changed"), say("difference"))
    caption = say("{metric} on {split}", metric=named(say, metric), split=say(found.split))
    return page.table(headings, rows, numeric={1, 2, 3}, caption=caption)


def _method(say: Words, found: Ablation) -> Html:
    effect = found.effects[found.metric]
    lines = [
        say(
            "Both recipes were trained with the same {seeds} seeds, and each pair answered the "
            "same records ({records} in all, paired by content).",
            seeds=len(found.seeds), records=f"{effect.records:,}",
        ),
        say(
            "The standard error joins two parts: between seeds {seeds}, between records {records} "
            "(bootstrap with the seeds held). The interval is Student's, with Satterthwaite's "
            "degrees of freedom.",
            seeds=distance(say, found.metric, effect.seed_error or 0.0),
            records=distance(say, found.metric, effect.record_error),
        ),
        say(
            "A seed also decides the split where the recipe names no files for dev and test, so "
            "its share of the error covers the luck of the split."
        ),
    ]  # fmt: skip
    if found.left_out:
        lines.append(
            say("{rows} test records stand in only one of the two and are not compared.",
                rows=f"{found.left_out:,}")
        )  # fmt: skip
    return page.bullets(lines)
