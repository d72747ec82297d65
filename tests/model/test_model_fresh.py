"""New networks of every architecture are saved as folders that the reference opens alike."""

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tael.model.batch import Batch
from tael.model.fresh import new_config
from tael.model.head import VocabHead
from tael.model.network import build
from tael.model.weights import open_folder, save_folder
from tael.recipe.schema import Model

VOCAB = 61
CASES: dict[str, tuple[Literal["mlm", "clm", "seq2seq"], str]] = {
    "encoder": ("mlm", "AutoModelForMaskedLM"),
    "decoder": ("clm", "AutoModelForCausalLM"),
    "encoder-decoder": ("seq2seq", "AutoModelForSeq2SeqLM"),
}


def small(architecture: str) -> Model:
    sizes = {"hidden": 32, "layers": 2, "heads": 4, "ffn": 64, "dropout": 0.0}
    return Model.model_validate({"architecture": architecture} | sizes)


def batch(ids_BT: Tensor, source: Batch | None = None) -> Batch:
    documents_BT = torch.ones(ids_BT.shape, dtype=torch.int32)
    return Batch(ids_BT, documents_BT, layout="full", source=source)


@pytest.mark.parametrize("architecture", CASES)
def test_transformers_opens_a_new_network_and_scores_alike(
    architecture: str, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    kind, name = CASES[architecture]
    config = new_config(small(architecture), VOCAB, 64)
    network = build(config, VocabHead(config, kind), seed=5).eval()
    save_folder(tmp_path, network)
    reference = getattr(transformers, name).from_pretrained(tmp_path).eval()
    generator = torch.Generator().manual_seed(1)
    source_BT, ids_BT = torch.randint(1, VOCAB, (2, 2, 9), generator=generator)
    with torch.inference_mode():
        if kind == "seq2seq":
            mine = network.logits(batch(ids_BT, batch(source_BT)))
            its = reference(input_ids=source_BT, decoder_input_ids=ids_BT).logits
        else:
            mine, its = network.logits(batch(ids_BT)), reference(input_ids=ids_BT).logits
    assert_close(mine, its, rtol=0, atol=2e-6)  # float32, two layers


@pytest.mark.parametrize("architecture", CASES)
def test_a_new_network_is_opened_as_it_was_built(architecture: str, tmp_path: Path) -> None:
    kind, _ = CASES[architecture]
    config = new_config(small(architecture), VOCAB, 64)
    network = build(config, VocabHead(config, kind))
    save_folder(tmp_path, network)
    opened, report = open_folder(tmp_path)
    assert not report.missing
    assert not report.unexpected
    assert opened.kind == kind
    for (name, mine), its in zip(network.named_parameters(), opened.parameters(), strict=True):
        assert torch.equal(mine, its), name


@pytest.mark.parametrize(("preset", "ffn"), [("tiny", 384), ("small", 704), ("base", 2048)])
def test_a_gated_layer_has_about_the_weights_of_a_plain_one(preset: str, ffn: int) -> None:
    from tael.recipe.load import load_recipe

    def resolved(*more: str) -> Model:
        path = Path(__file__).parents[2] / "examples" / "reviews.yaml"
        return load_recipe(path, [f"model.preset={preset}", *more]).model

    plain, gated = resolved(), resolved("model.architecture=decoder")
    assert gated.ffn == ffn
    assert 3 * gated.ffn == pytest.approx(2 * plain.ffn, rel=0.15)
    given: Any = resolved("model.architecture=decoder", "model.ffn=100")
    assert given.ffn == 100
