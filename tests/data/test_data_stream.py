"""Text larger than memory: the same as in memory, whoever does it, and wherever it was stopped."""

import json
import logging
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from tael.data import stretch
from tael.data.corpus import Corpus, address_of, read_corpus
from tael.data.dedup import dedup
from tael.data.leak import LEFT_OUT, unseen
from tael.data.pool import Inline, Map, workers
from tael.data.prepare import texts
from tael.data.shards import Shard, build, key_of, open_shard
from tael.data.tokenizer import train_tokenizer
from tael.errors import DataError
from tael.recipe.schema import Clean, Data
from tael.recipe.schema import Tokenizer as Spec

WORDS = ["alpha", "beta", "gamma", "delta", "服务", "很好", "房间", "不错", "quick", "brown", "，"]


def lines(number: int, seed: int = 0) -> list[str]:
    """Return texts of which some are copies, and some are copies but for a word."""
    draw = random.Random(seed)
    found: list[str] = []
    for n in range(number):
        kind = draw.random()
        if found and kind < 0.1:
            text = draw.choice(found).upper()
        elif found and kind < 0.2:
            text = draw.choice(found) + f" {n}"
        else:
            text = " ".join([*draw.choices(WORDS, k=draw.randint(1, 60)), str(n)])
        found.append(text)
    return found


def write(path: Path, some: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in some), "utf-8")
    return path


def rules(*paths: Path, **clean: object) -> Data:
    return Data.model_validate({"train": list(paths), "clean": {"dedup": "exact"} | clean})


def read(folder: Path, path: Path, data: Data | None = None, run: Map | None = None) -> Corpus:
    data = data or rules(path)
    return read_corpus(folder, [path], data, (), run or Inline())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut files where they would be cut if they were large."""
    monkeypatch.setattr(stretch, "_BYTES", 4000)
    monkeypatch.setattr(stretch, "_CHARACTERS", 5000)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(lines(300), Spec(vocab=300))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mode", ["off", "exact", "near"])
def test_a_stream_keeps_what_memory_would_keep(tmp_path: Path, mode: str) -> None:
    path = write(tmp_path / "a.txt", lines(800))
    data = rules(path, dedup=mode)
    held_out = [{"text": text} for text in lines(800)[::50]]
    counts: Counter[str] = Counter()
    raw = list(texts((path,), rules(path, dedup="off"), counts))
    kept = dedup([{"text": text} for text in raw], data.clean, counts).kept
    expected = list(unseen((record["text"] for record in kept), held_out, counts))
    found = read_corpus(tmp_path / "c", [path], data, held_out, Inline())
    assert list(found) == expected
    assert len(found.parts) > 10
    del found.counts["near-duplicate comparisons given up: very many alike"]
    assert found.counts == Counter({step: n for step, n in counts.items() if n})
    assert (found.texts, found.characters) == (len(expected), sum(map(len, expected)))
    assert found.counts[LEFT_OUT] > 0
    if mode != "off":
        assert found.counts["exact duplicates removed"] > 30
    if mode == "near":
        assert found.counts["near duplicates removed"] > 30


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_every_nth_text_is_that_of_a_list(tmp_path: Path, step: int) -> None:
    found = read(tmp_path / "c", write(tmp_path / "a.txt", lines(300)))
    assert list(found.every(step)) == list(found)[::step]


LINE = st.text(st.sampled_from("ab 服\r\u2028\ufeff\t\0"), max_size=12)


@pytest.mark.usefixtures("small")
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(some=st.lists(LINE, min_size=1, max_size=60), end=st.sampled_from(["\n", "\r\n"]))
def test_where_a_file_is_cut_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, some: list[str], end: str
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "a.txt"
    path.write_bytes(end.join([*some, "last one"]).encode())
    data = rules(path, dedup="off").model_copy(update={"encoding": "utf-8"})
    whole = read(folder / "whole", path, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretch, "_BYTES", 16)
        cut = read(folder / "cut", path, data)
    assert list(cut) == list(whole)
    assert cut.counts == whole.counts


@pytest.mark.usefixtures("small")
def test_every_format_gives_the_same_texts(tmp_path: Path) -> None:
    import gzip

    some = lines(200)
    files = [write(tmp_path / "a.txt", some)]
    objects = [json.dumps({"text": line}, ensure_ascii=False) for line in some]
    files.append(write(tmp_path / "b.jsonl", objects))
    files.append(write(tmp_path / "c.csv", ["text", *(f'"{line}"' for line in some)]))
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(files[1].read_bytes()))
    for n, line in enumerate(some):
        (tmp_path / "many").mkdir(exist_ok=True)
        write(tmp_path / "many" / f"{n:04d}.txt", [line])
    files += [tmp_path / "d.jsonl.gz", tmp_path / "many"]
    found = [list(read(tmp_path / f"out{n}", path)) for n, path in enumerate(files)]
    assert found == [found[0]] * 5
    assert len(found[0]) > 150


@pytest.mark.usefixtures("small")
def test_a_fault_in_a_cut_file_has_its_true_line(tmp_path: Path) -> None:
    some = [json.dumps({"text": line}) for line in lines(200)]
    some[150] = '{"text": '
    with pytest.raises(DataError, match=r"a\.jsonl:151: not valid JSON"):
        read(tmp_path / "c", write(tmp_path / "a.jsonl", some))
    some[150] = '{"text": 7}'
    with pytest.raises(DataError, match=r"a\.jsonl:151: text must be a string"):
        read(tmp_path / "d", write(tmp_path / "a.jsonl", some))


@pytest.mark.slow
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("mode", ["exact", "near"])
def test_shards_do_not_depend_on_the_number_of_processes(
    tmp_path: Path, tokenizer: Tokenizer, mode: str
) -> None:
    path = write(tmp_path / "a.txt", lines(500))
    data = rules(path, dedup=mode)
    for number in (1, 2, 3):
        with workers(number) as run:
            corpus = read(tmp_path / f"corpus{number}", path, data, run)
            build(tmp_path / f"shard{number}", corpus, tokenizer, 32, run)
    for kind in ("corpus", "shard"):
        first, *others = (tree(tmp_path / f"{kind}{number}") for number in (1, 2, 3))
        assert others == [first, first]
        assert len(first) > 4


@pytest.mark.usefixtures("small")
def test_a_shard_holds_every_token_of_every_kept_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    corpus = read(tmp_path / "c", write(tmp_path / "a.txt", lines(300)))
    shard = build(tmp_path / "s", corpus, tokenizer, 32, Inline())
    pieces: dict[int, list[int]] = {n: [] for n in range(corpus.texts)}
    for row in range(len(shard)):
        assert sum(len(piece) + 2 for piece in shard[row]) <= 32
        for text, piece in zip(shard.texts_of(row), shard[row], strict=True):
            pieces[text] += piece.tolist()
    wanted = tokenizer.encode_batch(list(corpus), add_special_tokens=False)
    assert [sorted(ids) for ids in pieces.values()] == [sorted(one.ids) for one in wanted]
    assert shard.tokens == sum(len(one.ids) for one in wanted)
    assert shard.texts == corpus.texts
    assert 0.9 < shard.fill <= 1


@pytest.mark.usefixtures("small")
def test_what_is_finished_is_not_done_again(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.txt", lines(300))
    corpus = read(tmp_path / "c", path)
    build(tmp_path / "s", corpus, tokenizer, 32, Inline())
    before = tree(tmp_path)

    def fails(*_: object) -> None:
        raise AssertionError("done again")

    for name in ("texts.write_part", "corpus.write_part", "shards.write_part", "stretch.clean"):
        monkeypatch.setattr(f"tael.data.{name}", fails)
    again = read(tmp_path / "c", path)
    assert (again.counts, list(again)) == (corpus.counts, list(corpus))
    assert open_shard(tmp_path / "s") is not None
    assert tree(tmp_path) == before


def test_another_content_rule_or_held_out_text_is_another_address(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    path = write(tmp_path / "a.txt", lines(10))
    data = rules(path)
    here = address_of([path], data, ())
    assert here == address_of([path], data, ())
    (tmp_path / "b").mkdir()
    assert here == address_of([write(tmp_path / "b" / "a.txt", lines(10))], data, ())
    others = {
        here,
        address_of([path], data, [{"text": "x"}]),
        address_of([path], rules(path, html=True), ()),
        address_of([write(tmp_path / "c.txt", lines(11))], data, ()),
    }
    assert len(others) == 4
    keys = {key_of(here, tokenizer, 32), key_of(here, tokenizer, 64), key_of("x", tokenizer, 32)}
    assert len(keys) == 3


@pytest.mark.usefixtures("small")
def test_a_damaged_part_is_made_again_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.txt", lines(300))
    read(tmp_path / "c", path)
    before = tree(tmp_path / "c")
    name = sorted((tmp_path / "c").iterdir())[2]
    (name / "texts.npy").write_bytes((name / "texts.npy").read_bytes()[:-1] + b"?")
    with caplog.at_level(logging.WARNING):
        read(tmp_path / "c", path)
    assert f"{name.name} was damaged: made again" in caplog.text
    assert tree(tmp_path / "c") == before


def test_a_damaged_shard_is_removed_and_said(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = read(tmp_path / "c", write(tmp_path / "a.txt", lines(50)))
    build(tmp_path / "s", corpus, tokenizer, 32, Inline())
    ids = tmp_path / "s" / "ids.npy"
    ids.write_bytes(ids.read_bytes()[:-1] + b"?")
    with caplog.at_level(logging.WARNING):
        assert open_shard(tmp_path / "s") is None
    assert "damaged (ids.npy is not what was written)" in caplog.text
    assert not (tmp_path / "s").exists()
    (tmp_path / "t").mkdir()
    with pytest.raises(DataError, match="not a token shard"):
        Shard(tmp_path / "t")


@pytest.mark.parametrize("name", ["ids.npy", "shard.json", "texts.npy"])
def test_a_shard_that_cannot_be_read_is_removed_and_the_file_named(
    tmp_path: Path, tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    corpus = read(tmp_path / "c", write(tmp_path / "a.txt", lines(50)))
    build(tmp_path / "s", corpus, tokenizer, 32, Inline())
    hurt = tmp_path / "s" / name
    hurt.unlink() if name == "ids.npy" else hurt.write_bytes(hurt.read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert open_shard(tmp_path / "s") is None
    assert f"{name} is not what was written" in caplog.text
    assert len(build(tmp_path / "s", corpus, tokenizer, 32, Inline())) > 0


def test_no_texts_at_all_is_an_empty_shard(tmp_path: Path, tokenizer: Tokenizer) -> None:
    path = write(tmp_path / "a.txt", ["x"])
    corpus = read(tmp_path / "c", path, rules(path, min_characters=5))
    shard = build(tmp_path / "s", corpus, tokenizer, 32, Inline())
    assert (len(shard), shard.tokens, shard.texts, shard.fill) == (0, 0, 0, 0)
    assert corpus.counts["dropped: text under 5 characters"] == 1


KILLED = """
import sys
from pathlib import Path
from tokenizers import Tokenizer
from tael.data import stretch
from tael.data.corpus import read_corpus
from tael.data.pool import workers
from tael.data.shards import build
from tael.recipe.schema import Data
stretch._BYTES = 4000
home = Path(sys.argv[1])
data = Data.model_validate({"train": [home / "a.txt"]})
with workers(2) as run:
    corpus = read_corpus(home / "corpus", [home / "a.txt"], data, (), run)
    build(home / "shard", corpus, Tokenizer.from_file(str(home / "t.json")), 32, run)
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["corpus/000010-000000", "corpus/near/000010-000000",
                                  "shard.parts/000010-000000"])  # fmt: skip
def test_what_was_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, tokenizer: Tokenizer, when: str
) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.txt", lines(600))
        tokenizer.save(str(tmp_path / name / "t.json"))
    command = [sys.executable, "-c", KILLED]
    subprocess.run([*command, str(tmp_path / "whole")], check=True)
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    while not (tmp_path / "killed" / when).exists():
        assert process.poll() is None, "finished before it could be killed"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").rglob("texts.npy")}
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")
    kept = [path for path in done if "/corpus/0" in str(path)]
    assert kept
    assert all(path.stat().st_mtime_ns == done[path] for path in kept)


MEASURED = """
import resource, sys
from tael.data import stretch
stretch._BYTES = 1 << 18
from pathlib import Path
from tokenizers import Tokenizer
from tael.data.corpus import read_corpus
from tael.data.pool import workers
from tael.data.shards import build
from tael.machine.probe import peak_memory_bytes
from tael.recipe.schema import Data
home = Path(sys.argv[1])
data = Data.model_validate({"train": [home / "a.jsonl"]})
with workers(2) as run:
    corpus = read_corpus(home / "corpus", [home / "a.jsonl"], data, (), run)
    build(home / "shard", corpus, Tokenizer.from_file(str(home / "t.json")), 128, run)
# Not ru_maxrss of this process: a child that is made by vfork begins with its parent's.
worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
print(peak_memory_bytes() // 2**20, worker)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    def peak(megabytes: int) -> list[int]:
        home = tmp_path / str(megabytes)
        home.mkdir()
        draw = random.Random(0)
        known = ["".join(draw.choices("abcdefghijklmnopqrst", k=7)) for _ in range(2000)]
        with (home / "a.jsonl").open("w", encoding="utf-8") as file:
            while file.tell() < megabytes * 1_000_000:
                words = " ".join(draw.choices(known, k=60))
                file.write(json.dumps({"text": words}) + "\n")
        train_tokenizer(lines(200), Spec(vocab=300)).save(str(home / "t.json"))
        out = subprocess.check_output([sys.executable, "-c", MEASURED, str(home)], text=True)
        return [int(number) for number in out.split()]

    (parent, worker), (parent_5, worker_5) = peak(1), peak(5)
    assert parent_5 < 1.25 * parent + 10, (parent, parent_5)  # MB
    assert worker_5 < 1.25 * worker + 10, (worker, worker_5)
    assert max(parent_5, worker_5) < 400


def test_the_numbers_of_kept_texts_are_bounded_by_a_byte_each(tmp_path: Path) -> None:
    corpus = read(tmp_path / "c", write(tmp_path / "a.txt", lines(100)))
    kept = np.load(tmp_path / "c" / "kept" / "kept.npy")
    assert kept.nbytes == sum(texts for _, texts in corpus.parts)
    assert Clean().dedup == "near"
