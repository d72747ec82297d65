"""Variants of a really trained run: the exports are the model, and each is made once."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tael.compress.export import TOLERANCE, check_parity
from tael.compress.manifest import read_variant, write_manifest
from tael.compress.parent import parent_logits
from tael.compress.quantize import needs_reduced_range, quantize_onnx
from tael.compress.session import open_session
from tael.compress.student import baseline, teach, within_budget
from tael.compress.variant import BASELINE, PARENT, VARIANTS, make_variants
from tael.errors import CheckpointError, UsageError
from tael.evaluate.baseline import CHARACTERS
from tael.model.config import ModelConfig
from tael.model.linear import LinearModel, document
from tael.recipe.schema import Compress
from tael.task.classify import Classify
from tael.train.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_run: Path) -> Run:
    return Run(tiny_run)


def classify(run: Run) -> Classify:
    task = run.task()
    assert isinstance(task, Classify)
    return task


def parity(run: Run, graph: Path) -> float:
    task = run.task()
    return check_parity(graph, run.network(), task, task.encode_many(run.records("dev")), threads=1)


def quality(run: Run, model: LinearModel) -> float:
    """Return the task's first metric on dev."""
    task, dev = classify(run), run.records("dev")
    answers = task.decode(model.logits([document(record) for record in dev]))
    return task.metrics(answers, task.references(dev))[task.metric]


def damaged(graph: Path, to: Path, factor: float) -> Path:
    """Write the graph with one of its matrices scaled."""
    model = onnx.load(graph)
    largest = max(model.graph.initializer, key=lambda one: len(one.raw_data))
    values = numpy_helper.to_array(largest)
    largest.CopyFrom(numpy_helper.from_array((values * factor).astype(np.float32), largest.name))
    onnx.save(model, to)
    return to


def test_every_variant_of_the_recipe_can_be_made(run: Run) -> None:
    assert set(VARIANTS) == set(Compress().variants)
    made = make_variants(run, progress=False)
    assert [variant.id for variant in made] == list(VARIANTS)
    for variant in made:
        folder = run.folder / "variants" / variant.id
        assert read_variant(folder, verify=True) == variant
        assert variant.bytes == sum(
            path.stat().st_size for path in folder.iterdir() if path.name != "manifest.json"
        )


def test_an_export_agrees_with_its_parent_on_all_of_dev(run: Run) -> None:
    assert parity(run, run.folder / "variants/onnx-fp32/model.onnx") < TOLERANCE
    notes = read_variant(run.folder / "variants" / "onnx-fp32").notes
    assert notes["parity_records"] == len(run.records("dev"))


@pytest.mark.parametrize("factor", [1.01, -1.0, float("nan")])
def test_a_damaged_export_is_refused(factor: float, run: Run, tmp_path: Path) -> None:
    graph = damaged(run.folder / "variants/onnx-fp32/model.onnx", tmp_path / "model.onnx", factor)
    with pytest.raises(CheckpointError) as refusal:
        parity(run, graph)
    assert "is not the model" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_int8_graph_is_not_taken_for_the_model(run: Run) -> None:
    with pytest.raises(CheckpointError, match="is not the model"):
        parity(run, run.folder / "variants/onnx-int8/model.onnx")


def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(CheckpointError, match="tael price") as refusal:
        open_session(tmp_path / "model.onnx", 1)
    assert "\n" not in str(refusal.value)


def test_int8_is_smaller_and_keeps_nearly_all_decisions(run: Run, tmp_path: Path) -> None:
    full = run.folder / "variants/onnx-fp32/model.onnx"
    small = tmp_path / "model.onnx"
    for reduce_range in (False, True):
        quantize_onnx(full, small, reduce_range=reduce_range)
        assert small.stat().st_size < full.stat().st_size
        kinds = {node.op_type for node in onnx.load(small).graph.node}
        assert "MatMulInteger" in kinds


def test_only_machines_without_wide_int8_sums_lose_a_bit() -> None:
    assert needs_reduced_range(["avx2", "avx512f"])
    assert not needs_reduced_range(["avx2", "avx512f", "avx512_vnni"])
    assert not needs_reduced_range(["amx_bf16", "amx_int8"])


def test_what_is_whole_is_not_made_again(run: Run) -> None:
    names = ["torch-fp32", "onnx-fp32", "linear-student"]
    before = [os.stat(run.folder / "variants" / name / "manifest.json").st_ino for name in names]
    make_variants(run, progress=False)
    after = [os.stat(run.folder / "variants" / name / "manifest.json").st_ino for name in names]
    assert before == after


def test_a_damaged_or_stale_variant_is_made_again(
    train_run: Callable[..., Path],
) -> None:
    run = Run(train_run(**{"compress.variants": "[torch-bf16]", "train.steps": "2"}))
    made = make_variants(run, progress=False)
    assert [variant.id for variant in made] == [PARENT, "torch-bf16", BASELINE]
    folders = {variant.id: run.folder / "variants" / variant.id for variant in made}
    weights = folders["torch-bf16"] / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\x07")
    stale = read_variant(folders[BASELINE]).model_copy(update={"source": "another parent"})
    write_manifest(folders[BASELINE], stale)
    make_variants(run, progress=False)
    assert weights.read_bytes() == whole
    assert read_variant(folders[BASELINE]).source == read_variant(folders[PARENT]).source


def test_a_damaged_manifest_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"id": "x"}))
    with pytest.raises(CheckpointError, match="make it again"):
        read_variant(tmp_path)
    with pytest.raises(UsageError, match=r"no manifest\.json"):
        read_variant(tmp_path / "elsewhere")


def test_bfloat16_weights_take_half_the_bytes(run: Run) -> None:
    full, half = (
        (run.folder / "variants" / name / "model.safetensors").stat().st_size
        for name in ("torch-fp32", "torch-bf16")
    )
    assert half < 0.6 * full


def test_the_parents_logits_come_in_the_order_of_the_records(run: Run) -> None:
    task, network = run.task(), run.network()
    examples = task.encode_many(run.records("dev"))[:40]
    backwards = parent_logits(network, task, examples[::-1])[::-1]
    assert np.allclose(parent_logits(network, task, examples), backwards, atol=1e-5)


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_the_student_is_not_worse_on_dev_than_the_labels_allow(
    kind: str, train_run: Callable[..., Path], tiny_run: Path
) -> None:
    run = Run(tiny_run if kind == "single" else train_run(kind, **{"train.steps": "10"}))
    task = classify(run)
    taught = teach(run, run.network(), task, CHARACTERS, lambda _: None)
    assert taught.notes["answered_by_parent"] == len(run.records("train"))
    labels_alone = quality(run, baseline(run, task))
    assert quality(run, taught.model) >= labels_alone - 0.01  # two solvers of one problem
    assert labels_alone > 0.4


def test_the_student_learns_from_text_nobody_labelled(
    train_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = Run(train_run(**{"train.steps": "2"}))
    known = str(run.records("dev")[0]["text"])
    more = tmp_path / "more.txt"
    more.write_text(f"这家真的特别好\n{known}\n那家实在太差\n", encoding="utf-8")
    pretrain = run.recipe.pretrain.model_copy(update={"text": (more,)})
    run.__dict__["recipe"] = run.recipe.model_copy(update={"pretrain": pretrain})
    taught = teach(run, run.network(), classify(run), CHARACTERS, lambda _: None)
    assert taught.notes["unlabelled"] == 2  # the dev text is not one of them


def test_the_parents_time_goes_to_unlabelled_text_first() -> None:
    config = ModelConfig(vocab=100, hidden=8, layers=1, heads=1, ffn=16)
    each = 2.0 * (4 * 64 + 2 * 8 * 16) * 10
    lengths = [10] * 6
    assert within_budget(lengths, config, 4, flops=3 * each) == [0, 4, 5]
    assert within_budget(lengths, config, 4, flops=100 * each) == list(range(6))
    assert within_budget(lengths, config, 4, flops=0) == []


def test_the_baseline_is_saved_as_it_was_fitted(run: Run) -> None:
    saved = LinearModel.load(run.folder / "variants" / BASELINE)
    fitted = baseline(run, classify(run))
    texts = [document(record) for record in run.records("dev")]
    assert np.array_equal(saved.logits(texts), fitted.logits(texts))
    assert quality(run, saved) > 0.8
