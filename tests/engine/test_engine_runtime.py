"""Every runtime gives what the trained model gives, whatever the order and the company."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tael.compress.manifest import read_variant
from tael.data.record import Record
from tael.engine.predictor import Engine, open_engine
from tael.errors import CheckpointError, FloorError, RunError, UsageError
from tael.model.linear import LinearModel, document
from tael.train.run import Run

pytestmark = pytest.mark.slow

VARIANTS = ("torch-fp32", "torch-bf16", "onnx-fp32", "onnx-int8", "tfidf", "linear-student")
NEURAL = VARIANTS[:4]


@pytest.fixture(scope="module", params=VARIANTS)
def engine(request: pytest.FixtureRequest, tiny_run: Path) -> Engine:
    return open_engine(tiny_run, request.param)


@pytest.fixture(scope="module")
def records(tiny_run: Path) -> list[Record]:
    return Run(tiny_run).records("test")


def labels(engine: Engine, records: list[Record]) -> list[str]:
    return [answer["label"] for answer in engine.predict(records)]


def scores(engine: Engine, records: list[Record]) -> np.ndarray:
    return np.array([list(answer["scores"].values()) for answer in engine.predict(records)])


def test_the_test_set_varies_in_length_so_that_padding_happens(records: list[Record]) -> None:
    lengths = {len(str(record["text"])) for record in records}
    assert max(lengths) > 4 * min(lengths)


def test_neither_order_nor_company_changes_an_answer(engine: Engine, records: list[Record]) -> None:
    whole = scores(engine, records)
    order = np.random.default_rng(0).permutation(len(records))
    shuffled = scores(engine, [records[at] for at in order])
    alone = np.concatenate([scores(engine, [record]) for record in records])
    bound = engine.variant.score_bound
    assert np.abs(shuffled - whole[order]).max() <= bound
    assert np.abs(alone - whole).max() <= bound
    assert labels(engine, records) == [labels(engine, [record])[0] for record in records]


@pytest.mark.parametrize("name", ["onnx-int8", "torch-bf16"])
def test_lossy_arithmetic_is_computed_one_text_at_a_time(name: str, tiny_run: Path) -> None:
    assert open_engine(tiny_run, name).variant.together == 1


def test_int8_would_change_scores_in_company(tiny_run: Path, records: list[Record]) -> None:
    engine = open_engine(tiny_run, "onnx-int8")
    alone = scores(engine, records)
    engine.runtime._rows = 16  # type: ignore[attr-defined]  # what the manifest forbids
    assert np.abs(scores(engine, records) - alone).max() > engine.variant.score_bound


@pytest.mark.parametrize("name", NEURAL)
def test_every_precision_stays_near_the_parent(
    name: str, tiny_run: Path, records: list[Record]
) -> None:
    parent, other = (scores(open_engine(tiny_run, one), records) for one in ("torch-fp32", name))
    limit = {"torch-fp32": 0, "onnx-fp32": 1e-4, "torch-bf16": 0.05, "onnx-int8": 0.2}[name]
    assert np.abs(parent - other).max() <= limit
    if name == "onnx-fp32":
        assert (parent.argmax(1) == other.argmax(1)).all()


def test_the_linear_runtime_is_the_linear_model(tiny_run: Path, records: list[Record]) -> None:
    engine = open_engine(tiny_run, "tfidf")
    model = LinearModel.load(tiny_run / "variants" / "tfidf")
    expected = model.logits([document(record) for record in records])
    assert np.array_equal(engine.runtime.logits(records), expected)


def test_a_record_needs_no_label_to_be_answered(engine: Engine, records: list[Record]) -> None:
    bare = [{"text": record["text"]} for record in records[:5]]
    assert engine.predict(bare) == engine.predict(records[:5])
    assert engine.predict([]) == []


def test_the_tiny_model_has_learnt_what_these_tests_ask_it(
    tiny_run: Path, records: list[Record]
) -> None:
    found = labels(open_engine(tiny_run, "torch-fp32"), records)
    right = np.mean([one == record["label"] for one, record in zip(found, records, strict=True)])
    assert right > 0.8
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    ("name", "forbidden"),
    [
        ("onnx-int8", {"torch", "sklearn", "matplotlib"}),
        ("tfidf", {"torch", "onnxruntime", "sklearn", "scipy", "matplotlib"}),
    ],
)
def test_a_variant_imports_only_what_it_runs_on(
    name: str, forbidden: set[str], tiny_run: Path
) -> None:
    program = (
        "import json, sys; from pathlib import Path; "
        "from tael.engine.predictor import open_engine; "
        f"open_engine(Path({str(tiny_run)!r}), {name!r}).predict([{{'text': '房间很好'}}]); "
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not forbidden & set(json.loads(done.stdout))


def test_a_run_without_prices_answers_with_its_parent_and_says_so(tiny_run: Path) -> None:
    engine = open_engine(tiny_run)
    assert engine.variant.id == "torch-fp32"
    assert "no prices yet" in engine.why


def test_the_chosen_variant_answers(tiny_run: Path, tmp_path: Path) -> None:
    run = copy(tiny_run, tmp_path, chosen="tfidf")
    engine = open_engine(run)
    assert engine.variant.id == "tfidf"
    assert "not proved" in engine.why
    assert open_engine(run, "onnx-fp32").variant.id == "onnx-fp32"


def test_a_run_whose_floor_nobody_keeps_answers_only_by_name(
    tiny_run: Path, tmp_path: Path
) -> None:
    run = copy(tiny_run, tmp_path, chosen=None)
    with pytest.raises(FloorError, match="--variant"):
        open_engine(run)
    assert open_engine(run, "tfidf").variant.id == "tfidf"


def test_an_unknown_variant_is_refused_with_those_there_are(tiny_run: Path) -> None:
    with pytest.raises(UsageError, match="linear-student, onnx-fp32"):
        open_engine(tiny_run, "onnx-int4")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no trained model"):
        open_engine(tmp_path)


def test_a_damaged_weight_file_is_never_served(tiny_run: Path, tmp_path: Path) -> None:
    run = copy(tiny_run, tmp_path, chosen="tfidf")
    path = run / "variants" / "tfidf" / "linear.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        open_engine(run)


def test_a_variant_can_be_copied_away_from_its_run(tiny_run: Path, tmp_path: Path) -> None:
    for name in VARIANTS:
        shutil.copytree(tiny_run / "variants" / name, tmp_path / name)
        assert open_engine(tmp_path / name).predict([{"text": "早餐很差"}])
        assert read_variant(tmp_path / name, verify=True).id == name


def copy(run: Path, to: Path, *, chosen: str | None) -> Path:
    shutil.copytree(run, to / "run")
    frontier = {"chosen": chosen, "confirmed": False, "floor": "accuracy >= 0.98 * base"}
    (to / "run" / "price").mkdir()
    (to / "run" / "price" / "frontier.json").write_text(json.dumps(frontier))
    return to / "run"
