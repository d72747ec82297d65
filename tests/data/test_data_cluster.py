"""The data room on a Ray cluster: the same bytes as on one machine."""

import sys
from pathlib import Path

import pytest

from tael.data import stretch
from tael.data.cluster import Cluster
from tael.data.corpus import read_corpus
from tael.data.pool import Inline, Map
from tael.data.shards import build
from tael.data.tokenizer import train_tokenizer
from tael.errors import UsageError
from tael.recipe.schema import Data, Tokenizer


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'tael\[cluster\]'"):
        Cluster()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_shards_under_ray_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'tael[cluster]'")
    monkeypatch.setattr(stretch, "_BYTES", 4000)
    some = [f"text {n % 90} of a few words, and {n % 7} more 服务很好" * 3 for n in range(200)]
    (tmp_path / "a.txt").write_text("\n".join(some), "utf-8")
    data = Data.model_validate({"train": [tmp_path / "a.txt"]})
    tokenizer = train_tokenizer(some, Tokenizer(vocab=300))

    def made(name: str, run: Map) -> dict[str, bytes]:
        home = tmp_path / name
        corpus = read_corpus(home / "corpus", [tmp_path / "a.txt"], data, (), run)
        build(home / "shard", corpus, tokenizer, 32, run)
        files = sorted(path for path in home.rglob("*") if path.is_file())
        return {str(path.relative_to(home)): path.read_bytes() for path in files}

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert made("ray", Cluster()) == made("one", Inline())
    finally:
        ray.shutdown()
