"""Every finder on one planted set: recall and precision in a table (`pytest -s` prints it)."""

import random
from collections import Counter
from collections.abc import Iterable

import pytest
from test_data_dedup import HAN, planted
from test_data_personal import AROUND, PLANTS, decoy

from tael.data.dedup import dedup, leaks
from tael.data.personal import KINDS, find
from tael.evaluate.mislabel import find_suspects
from tael.recipe.schema import Clean

Row = tuple[str, float, float]  # finder, recall, precision


def scored(name: str, found: Iterable[object], true: Iterable[object]) -> Row:
    found, true = set(found), set(true)
    right = len(found & true)
    return name, right / len(true), right / len(found)


def lone(number: int, generator: random.Random) -> list[dict[str, str]]:
    texts = ("".join(generator.choices(HAN, k=generator.randint(20, 120))) for _ in range(number))
    return [{"text": text, "label": "1"} for text in texts]


def placed(records: list[dict[str, str]], file: str) -> list[dict[str, str]]:
    return [record | {"@": f"{file}:{n}"} for n, record in enumerate(records)]


def duplicates() -> list[Row]:
    """300 texts written otherwise and 300 just at a similarity of 0.8, among 2,000 of their own."""
    generator = random.Random(11)
    records = lone(2000, generator)
    exact = [{"text": f"“{record['text']}”！ ", "label": "1"} for record in records[:300]]
    pairs = [pair for pair in planted(300, 0.8, seed=5) if pair[0] != pair[1]]
    firsts = [{"text": one, "label": "1"} for one, _ in pairs]
    seconds = [{"text": other, "label": "1"} for _, other in pairs]
    rows = placed([*records, *firsts, *exact, *seconds], "a")
    start = len(records) + len(firsts)
    found = dedup(rows, Clean(), Counter()).duplicates
    places = [row["@"] for row in rows[start:]]
    return [
        scored("exact duplicates", (m.record["@"] for m in found if m.exact), places[:300]),
        scored("near duplicates", (m.record["@"] for m in found if not m.exact), places[300:]),
    ]


def leaked() -> list[Row]:
    """Half of 400 held-out texts stand in train, half of those only nearly."""
    generator = random.Random(12)
    held_out = lone(300, generator)
    pairs = [pair for pair in planted(100, 0.8, seed=6) if pair[0] != pair[1]]
    held_out += [{"text": a, "label": "0"} for a, _ in pairs]
    copies = [{"text": record["text"].lower() + "。", "label": "1"} for record in held_out[:100]]
    train = placed(lone(1500, generator) + copies + [{"text": b} for _, b in pairs], "train")
    kept, found = leaks(train, placed(held_out, "test"), Clean())
    assert len(kept) + len(found) == len(train)
    return [scored("leaks", (m.record["@"] for m in found), (row["@"] for row in train[1500:]))]


def flipped() -> list[Row]:
    """5 % of 2,000 labels are wrong; 200 rows are shown."""
    generator = random.Random(13)
    telling = {"good": HAN[:60], "bad": HAN[60:120]}
    rows = []
    for n in range(2000):
        label = generator.choice(["good", "bad"])
        words = generator.choices(telling[label], k=5) + generator.choices(HAN[:120], k=9)
        words += generator.choices(HAN[120:], k=12)
        rows.append({"text": "".join(generator.sample(words, 26)), "label": label, "@": f"a:{n}"})
    wrong = set(generator.sample(range(2000), 100))
    for n in wrong:
        rows[n]["label"] = "bad" if rows[n]["label"] == "good" else "good"
    found = find_suspects(rows, ["bad", "good"])
    assert len(found) <= 200
    return [scored("flipped labels", (s.record["@"] for s in found), (rows[n]["@"] for n in wrong))]


def personal() -> list[Row]:
    """200 of each kind in sentences, among 2,000 sentences with other numbers."""
    generator = random.Random(14)
    true, claimed = set[tuple[int, str, str]](), set[tuple[int, str, str]]()
    for n in range(200 * len(KINDS) + 2000):
        kind = list(KINDS)[n // 200] if n < 200 * len(KINDS) else ""
        piece = PLANTS[kind](generator) if kind else decoy(generator)
        text = generator.choice(AROUND).format(piece)
        true |= {(n, piece, kind)} if kind else set()
        claimed |= {(n, text[start:end], name) for start, end, name in find(text)}
    return [
        scored(
            f"personal: {kind}",
            (one for one in claimed if one[2] == kind),
            (one for one in true if one[2] == kind),
        )
        for kind in KINDS
    ]


@pytest.mark.slow
def test_each_finder_has_its_recall_and_precision() -> None:
    table = [*duplicates(), *leaked(), *flipped(), *personal()]
    print("\n| finder | recall | precision |\n|---|---|---|")
    for name, recall, precision in table:
        print(f"| {name} | {recall:.3f} | {precision:.3f} |")
    measured = {name: (recall, precision) for name, recall, precision in table}
    assert measured.pop("exact duplicates") == (1, 1)
    recall, precision = measured.pop("flipped labels")
    assert recall >= 3 * 200 / 2000  # three times what 200 rows at random would hold
    assert precision >= 3 * 100 / 2000
    near = {name: measured.pop(name) for name in ("near duplicates", "leaks")}
    for name, (recall, precision) in near.items():
        assert (recall >= 0.95, precision) == (True, 1), name
    for name, (recall, precision) in measured.items():
        assert min(recall, precision) >= 0.99, name
