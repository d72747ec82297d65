"""`tael.load` opens a model of the hub by its name, from the user's cache."""

from pathlib import Path

import pytest
import torch

import tael
from tael.errors import CheckpointError
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.model.network import build
from tael.model.weights import save_folder

constants = pytest.importorskip("huggingface_hub.constants")

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_name_of_the_hub_opens_as_its_folder_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--owner--name"
    config = ModelConfig(vocab=20, hidden=8, layers=1, heads=2, ffn=12, max_positions=9)
    save_folder(home / "snapshots" / COMMIT, build(config, VocabHead(config)))
    (home / "refs").mkdir()
    (home / "refs" / "v1").write_text(COMMIT)
    ids_BT = torch.tensor([[3, 4, 5]])
    expected = tael.load(home / "snapshots" / COMMIT).logits(ids_BT)
    assert torch.equal(tael.load("hub://owner/name@v1").logits(ids_BT), expected)
    (home / "snapshots" / COMMIT / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        tael.load("hub://owner/name@v1")
