"""Near duplicates among very many texts, in bounded memory.

The same bands and the same exact similarity as in `dedup.py`, but bands and candidate pairs lie on
disk, and are looked through in shares. What grows in memory is one byte a text; on disk it is 8
bytes a band (21 bands at a threshold of 0.8), until the search is done. Beside a text come at most
`_BESIDE` of each band's texts before it: where more are alike, the rest is counted, not compared.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tael.data.dedup import SHORTEST, normalised, similarities, sketch
from tael.data.part import is_whole, read_part, write_part
from tael.data.pool import Map, Tell
from tael.data.repeats import Kept
from tael.data.texts import text_at, texts_of

__all__ = ["bands", "compare", "drop_near"]

Parts = Sequence[tuple[str, int]]
Pairs = NDArray[np.uint64]  # later text << 32 | earlier text

_AT_ONCE = 1 << 19  # numbers of a band sorted together
_BLOCK = 1 << 17  # of them read at once
_BESIDE = 8  # texts before a text, of one band
_LOOKS = 16  # exact comparisons a text
_BUCKET = 1 << 14  # texts decided together
_JOB = 1 << 9  # pairs compared in one job
_LOW = np.uint64(0xFFFFFFFF)


def drop_near(
    folder: Path,
    parts: Parts,
    kept: Kept,
    threshold: float,
    counts: Counter[str],
    *,
    run: Map,
    tell: Tell,
) -> None:
    """Unset `kept` in place for each text that nearly repeats an earlier one that stays."""
    scratch = folder / "near"
    starts = np.cumsum([0, *(texts for _, texts in parts)])
    jobs = [
        (scratch / name, folder / name, kept[start:end], threshold)
        for (name, _), (start, end) in zip(parts, pairwise(starts), strict=True)
    ]
    done, sizes = 0, [(folder / name / "texts.npy").stat().st_size for name, _ in parts]
    tell("near duplicates", 0, 0, sum(sizes))
    for number, _ in enumerate(run(bands, jobs)):
        done += sizes[number]
        tell("near duplicates", int(starts[number + 1]), done, sum(sizes))
    shutil.rmtree(scratch / "pairs", ignore_errors=True)
    (scratch / "pairs").mkdir(parents=True)
    given_up = _propose(scratch, [name for name, _ in parts], starts)
    dropped = 0
    for bucket in sorted((scratch / "pairs").iterdir(), key=lambda path: int(path.stem)):
        pairs = _likely(np.fromfile(bucket, np.uint64), kept)
        cut = [pairs[start : start + _JOB] for start in range(0, len(pairs), _JOB)]
        found = run(compare, [(folder, list(parts), some, threshold) for some in cut])
        for some, alike in zip(cut, found, strict=True):
            for pair in some[alike].tolist():
                if kept[pair >> 32] and kept[pair & 0xFFFFFFFF]:
                    kept[pair >> 32] = False
                    dropped += 1
    counts["near duplicates removed"] += dropped
    counts["near-duplicate comparisons given up: very many alike"] += given_up
    shutil.rmtree(scratch)


def bands(out: Path, part: Path, kept: Kept, threshold: float) -> None:
    """Write the bands of the kept texts of a part to `out`, (B, n), if that is not done yet."""
    if is_whole(out):
        return
    keys = [normalised({"text": text}) for text in texts_of(part, kept)]
    long = [n for n, key in enumerate(keys) if len(key) >= SHORTEST]
    band_NB = sketch([keys[n] for n in long], threshold)
    which = np.flatnonzero(kept)[long].astype(np.uint64)
    write_part(out, {"bands": np.ascontiguousarray(band_NB.T), "which": which}, {})


def compare(folder: Path, parts: Parts, pairs: Pairs, threshold: float) -> NDArray[np.bool_]:
    """Tell which pairs of texts are as alike as `threshold`."""
    later, earlier = pairs >> np.uint64(32), pairs & _LOW
    numbers, place = np.unique(np.concatenate([later, earlier]), return_inverse=True)
    ends = np.cumsum([texts for _, texts in parts])
    homes = np.searchsorted(ends, numbers, side="right").tolist()
    keys: list[str] = []
    for home, some in groupby(zip(homes, numbers.tolist(), strict=True), key=lambda both: both[0]):
        name, texts = parts[home]
        local = [number - (int(ends[home]) - texts) for _, number in some]
        keys += (normalised({"text": text}) for text in text_at(folder / name, local))
    both = zip(place[: len(pairs)].tolist(), place[len(pairs) :].tolist(), strict=True)
    return np.array(similarities(keys, both)) >= threshold


def _propose(scratch: Path, names: Sequence[str], starts: NDArray[np.int64]) -> int:
    """Write the pairs of texts with a band in common, in buckets by the later text."""
    bands, texts = _joined(scratch, names, starts)
    shares = max(1, -(-texts // _AT_ONCE))
    given_up = 0
    for band in bands:
        for share in range(shares):
            key, place = _share(band, scratch / "which.raw", share, shares)
            order = np.lexsort((place, key))
            key, place = key[order], place[order]
            for beside in range(1, _BESIDE + 1):
                same = np.flatnonzero(key[beside:] == key[:-beside])
                _spill(scratch / "pairs", place[same + beside] << np.uint64(32) | place[same])
            given_up += int((key[_BESIDE + 1 :] == key[: -_BESIDE - 1]).sum())
    return given_up


def _joined(
    scratch: Path, names: Sequence[str], starts: NDArray[np.int64]
) -> tuple[list[Path], int]:
    """Write a file for each band, and one that says of which texts; return them, and how many."""
    texts, files = 0, list[Path]()
    for name, start in zip(names, starts.tolist(), strict=False):
        arrays = read_part(scratch / name)
        rows = {f"band{number}.raw": row for number, row in enumerate(arrays["bands"])}
        files = [scratch / row for row in rows]
        for row, numbers in (rows | {"which.raw": arrays["which"] + np.uint64(start)}).items():
            with (scratch / row).open("ab" if texts else "wb") as file:
                file.write(numbers.tobytes())
        texts += len(arrays["which"])
    return files, texts


def _share(
    band: Path, which: Path, share: int, shares: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return one share of the numbers of a band, and of which texts they are."""
    keys, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    with band.open("rb") as numbers, which.open("rb") as texts:
        while len(here := np.fromfile(numbers, np.uint64, _BLOCK)):
            mine = here % np.uint64(shares) == np.uint64(share)
            keys.append(here[mine])
            places.append(np.fromfile(texts, np.uint64, _BLOCK)[mine])
    return np.concatenate(keys), np.concatenate(places)


def _spill(folder: Path, pairs: Pairs) -> None:
    pairs = pairs[np.argsort(pairs)]
    buckets = (pairs >> np.uint64(32)) // np.uint64(_BUCKET)
    for bucket in np.unique(buckets).tolist():
        with (folder / f"{bucket}.raw").open("ab") as file:
            file.write(pairs[buckets == np.uint64(bucket)].tobytes())


def _likely(pairs: Pairs, kept: Kept) -> Pairs:
    """Return the pairs worth an exact look, sorted: for each text those with most bands alike."""
    pairs, times = np.unique(pairs, return_counts=True)
    stays = kept[(pairs & _LOW).astype(np.int64)]
    pairs, times = pairs[stays], times[stays]
    later = pairs >> np.uint64(32)
    order = np.lexsort((pairs, -times, later))
    first = np.searchsorted(later, later, side="left")
    rank = np.empty(len(pairs), np.int64)
    rank[order] = np.arange(len(pairs))
    return pairs[rank - first < _LOOKS]
