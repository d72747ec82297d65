"""From records to batches, loss and answers, for one label, several, and a number."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch.testing import assert_close

from tael.data.record import Record
from tael.data.tokenizer import save_tokenizer, specials, train_tokenizer
from tael.errors import CheckpointError, DataError, RecipeError, UsageError
from tael.model.config import ModelConfig
from tael.model.network import build
from tael.recipe.schema import Clean, Recipe
from tael.recipe.schema import Tokenizer as Spec
from tael.task.base import find, load_task, save_task
from tael.task.classify import Classify
from tael.task.labels import Kind

TEXTS = [
    "房间很干净，服务很好。",
    "a clean room and a kind staff",
    "早餐一般",
    "不会再来了 never again",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 5, Spec(kind="wordpiece", vocab=120))


def recipe(**changes: Any) -> Recipe:
    raw: dict[str, Any] = {"name": "t", "task": "classify", "data": {"train": ["/x.csv"]}}
    for section, values in changes.items():
        raw[section] = raw.get(section, {}) | values
    return Recipe.model_validate(raw)


def records(labels: Sequence[str]) -> list[Record]:
    return [
        {"text": TEXTS[i % 4], "label": label, "@": f"x.csv:{i + 2}"}
        for i, label in enumerate(labels)
    ]


def classify(tokenizer: Tokenizer, kind: Kind = "single", **options: Any) -> Classify:
    labels = [] if kind == "regression" else ["a", "b", "c"]
    return Classify(tokenizer, labels, kind, options.pop("max_tokens", 16), **options)


def test_a_text_is_wrapped_as_the_tokenizer_itself_does(tokenizer: Tokenizer) -> None:
    task = classify(tokenizer, max_tokens=64)
    for text in TEXTS:
        example, expected = task.encode({"text": text}), tokenizer.encode(text)
        assert (example.ids, example.types) == (expected.ids, expected.type_ids)
        assert (example.target, example.cut) == (None, 0)
    pair, expected = (
        task.encode({"text": TEXTS[0], "text_pair": TEXTS[1]}),
        tokenizer.encode(TEXTS[0], TEXTS[1]),
    )
    assert (pair.ids, pair.types) == (expected.ids, expected.type_ids)


def test_many_records_encode_as_each_alone(tokenizer: Tokenizer) -> None:
    task = classify(tokenizer)
    many: list[Record] = [{"text": text, "label": "b"} for text in TEXTS]
    many[1]["text_pair"] = "早餐"
    many[3]["text_pair"] = ""
    assert task.encode_many(many) == [task.encode(record) for record in many]
    assert task.encode_many([]) == []


@pytest.mark.parametrize(
    ("first", "second"), [(3, None), (40, None), (40, 3), (3, 40), (40, 40), (0, 0), (7, 6)]
)
def test_what_is_cut_is_counted(tokenizer: Tokenizer, first: int, second: int | None) -> None:
    task = classify(tokenizer, max_tokens=16)
    record: Record = {"text": "a " * first}
    if second is not None:
        record["text_pair"] = "a " * second
    example = task.encode(record)
    whole = len(tokenizer.encode(record["text"], record.get("text_pair")).ids)
    assert len(example) == min(whole, 16) == len(example.types)
    assert example.cut == whole - len(example)
    ends = example.ids.count(specials(tokenizer).sep)
    assert ends == (1 if second is None else 2)
    if second is not None and whole > 16:  # the longer text gives first
        kept = [example.types.count(0) - 2, example.types.count(1) - 1]
        assert min(kept) == min(first, second, 6)


def test_text_that_looks_like_a_special_token_stays_text(tokenizer: Tokenizer) -> None:
    ids = classify(tokenizer).encode({"text": "[MASK] [SEP] [CLS]"}).ids
    marks = specials(tokenizer)
    assert ids.count(marks.mask) == 0
    assert (ids.count(marks.sep), ids.count(marks.cls)) == (1, 1)


def test_a_batch_is_padded_and_says_so(tokenizer: Tokenizer) -> None:
    task = classify(tokenizer)
    examples = task.encode_many([r | {"label": "c"} for r in records("abc")])
    batch = task.collate(examples)
    lengths = [len(example) for example in examples]
    assert batch.documents_BT.sum(1).tolist() == lengths
    assert (batch.size, batch.tokens, batch.layout) == (3, sum(lengths), "padded")
    assert batch.types_BT is None
    assert batch.targets is not None
    assert batch.targets.tolist() == [2, 2, 2]
    assert (batch.ids_BT[batch.documents_BT == 0] == specials(tokenizer).pad).all()
    assert task.collate(examples[:1]).layout == "full"
    assert task.collate(task.encode_many([{"text": "a"}, {"text": "b"}])).targets is None


def test_labels_are_found_in_their_order_and_checked_in_other_splits(tokenizer: Tokenizer) -> None:
    task = Classify.from_records(records(["10", "9", "10"]), recipe(), tokenizer)
    assert task.labels == ["9", "10"]
    with pytest.raises(DataError, match=r"dev.*'7'.*x\.csv:3"):
        Classify.from_records(
            records(["10", "9"]), recipe(), tokenizer, {"dev": records(["9", "7"])}
        )
    with pytest.raises(DataError, match="two classes"):
        Classify.from_records(records("aaa"), recipe(), tokenizer)


def test_an_unknown_label_is_refused_with_its_place(tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"x\.csv:2: label 'z'.*a, b, c"):
        classify(tokenizer).encode(records(["z"])[0])
    with pytest.raises(DataError, match="label 'z'"):
        classify(tokenizer, "multi").encode(records(["a|z"])[0])


@pytest.mark.parametrize(
    ("kind", "label", "target"),
    [
        ("single", "b", 1),
        ("single", " b ", 1),
        ("single", "", None),
        ("multi", "c|a", [1.0, 0.0, 1.0]),
        ("multi", "", [0.0, 0.0, 0.0]),
        ("regression", "-2.5", -2.5),
    ],
)
def test_a_label_becomes_its_target(
    tokenizer: Tokenizer, kind: Kind, label: str, target: Any
) -> None:
    assert classify(tokenizer, kind).encode({"text": "a", "label": label}).target == target


# Loss

LABELS: dict[Kind, list[str]] = {
    "single": ["a", "b", "c", "a", "b"],
    "multi": ["a", "b|c", "", "a|b|c", "c"],
    "regression": ["1", "-2", "0.5", "30", "4"],
}
WEIGHTS = [0.5, 1.0, 3.0]


def mean_loss(task: Classify, logits: torch.Tensor, labels: list[str]) -> torch.Tensor:
    batch = task.collate(task.encode_many(records(labels)))
    return task.loss(logits, batch) / task.supervised(batch)


def test_the_loss_of_one_label_is_torchs_weighted_mean(tokenizer: Tokenizer) -> None:
    task = classify(tokenizer, label_smoothing=0.2, class_weights=WEIGHTS)
    logits_BC, targets = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    expected = F.cross_entropy(
        logits_BC, targets, weight=torch.tensor(WEIGHTS), label_smoothing=0.2
    )
    assert_close(mean_loss(task, logits_BC, LABELS["single"]), expected)
    plain = mean_loss(classify(tokenizer), logits_BC, LABELS["single"])
    assert_close(plain, F.cross_entropy(logits_BC, targets))


def test_the_loss_of_several_labels_is_a_mean_over_texts_and_labels(tokenizer: Tokenizer) -> None:
    logits_BC = torch.randn(5, 3)
    truth_BC = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 1]])
    found = mean_loss(classify(tokenizer, "multi"), logits_BC, LABELS["multi"])
    assert_close(found, F.binary_cross_entropy_with_logits(logits_BC, truth_BC))
    weighted = classify(tokenizer, "multi", class_weights=WEIGHTS, label_smoothing=0.2)
    each_BC = F.binary_cross_entropy_with_logits(logits_BC, truth_BC * 0.8 + 0.1, reduction="none")
    expected = (each_BC * torch.tensor(WEIGHTS)).sum() / (5 * sum(WEIGHTS))
    assert_close(mean_loss(weighted, logits_BC, LABELS["multi"]), expected)


def test_the_loss_of_a_number_is_in_deviations_of_train(tokenizer: Tokenizer) -> None:
    rows = records(LABELS["regression"])
    task = Classify.from_records(rows, recipe(data={"labels": "regression"}), tokenizer)
    truth_B = torch.tensor([float(label) for label in LABELS["regression"]])
    assert task.center == pytest.approx(float(truth_B.mean()), rel=1e-6)
    at_the_mean = mean_loss(task, torch.full((5, 1), task.center), LABELS["regression"])
    assert float(at_the_mean) == pytest.approx(1, rel=1e-5)
    head = task.head(ModelConfig(120, 16, 1, 2, 16))
    assert (head.scale, head.center) == (task.scale, task.center)


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_the_gradient_does_not_depend_on_how_a_step_is_cut(
    tokenizer: Tokenizer, kind: Kind
) -> None:
    options = {} if kind == "regression" else {"label_smoothing": 0.1, "class_weights": WEIGHTS}
    task = classify(tokenizer, kind, **options)
    config = ModelConfig(120, 16, 2, 2, 32, max_positions=16)
    network = build(config, task.head(config), seed=1).double().eval()
    examples = task.encode_many(records(LABELS[kind]))

    def gradient(parts: list[slice]) -> dict[str, torch.Tensor]:
        network.zero_grad()
        batches = [task.collate(examples[part]) for part in parts]
        total = sum(task.supervised(batch) for batch in batches)
        for batch in batches:
            (task.loss(task.logits(network, batch), batch) / total).backward()
        return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}

    whole = gradient([slice(0, 5)])
    cut = gradient([slice(0, 1), slice(1, 4), slice(4, 5)])
    for name, expected in whole.items():
        assert_close(cut[name], expected, atol=1e-6, rtol=1e-6, msg=name)


def test_class_weights_are_balanced_or_named(tokenizer: Tokenizer) -> None:
    rows = records(["a", "a", "a", "b"])
    balanced = Classify.from_records(
        rows, recipe(train={"class_weights": "balanced"}), tokenizer
    ).class_weights
    assert balanced == pytest.approx([4 / 6, 4 / 2])
    named = recipe(train={"class_weights": {"b": 3}})
    assert Classify.from_records(rows, named, tokenizer).class_weights == [1.0, 3.0]
    with pytest.raises(RecipeError, match=r"train\.class_weights: no label 'z'; there are a, b"):
        Classify.from_records(rows, recipe(train={"class_weights": {"z": 3}}), tokenizer)


def test_texts_longer_than_the_models_positions_are_a_problem_of_the_recipe(
    tokenizer: Tokenizer,
) -> None:
    with pytest.raises(RecipeError, match=r"data\.max_tokens: 64 is above the model's 32"):
        classify(tokenizer, max_tokens=64).head(ModelConfig(120, 16, 1, 2, 16, max_positions=32))


# Answers


def test_the_answer_is_the_most_probable_label(tokenizer: Tokenizer) -> None:
    logits_NC = np.array([[1, 3, -2], [1000, -1000, 999]], dtype=np.float32)
    one, two = classify(tokenizer).decode(logits_NC)
    expected = torch.tensor(logits_NC).double().softmax(-1)
    assert (one["label"], two["label"]) == ("b", "a")
    assert one["score"] == pytest.approx(expected[0, 1].item(), abs=1e-12)
    assert list(two["scores"]) == ["a", "b", "c"]
    assert list(two["scores"].values()) == pytest.approx(expected[1].tolist(), abs=1e-12)


def test_several_labels_answer_each_for_itself(tokenizer: Tokenizer) -> None:
    logits_NC = np.array([[2, -0.1, 0], [-800, 900, -1]], dtype=np.float32)
    one, two = classify(tokenizer, "multi").decode(logits_NC)
    assert (one["labels"], two["labels"]) == (["a", "c"], ["b"])
    expected = torch.tensor(logits_NC).double().sigmoid()
    assert list(one["scores"].values()) == pytest.approx(expected[0].tolist())
    assert list(two["scores"].values()) == pytest.approx(expected[1].tolist())


def test_a_number_is_answered_as_it_is(tokenizer: Tokenizer) -> None:
    task = classify(tokenizer, "regression", center=5.0, scale=9.0)
    assert task.decode(np.array([[2.5]], dtype=np.float32)) == [{"value": 2.5}]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_refused(tokenizer: Tokenizer, bad: float) -> None:
    with pytest.raises(CheckpointError, match="NaN or infinity"):
        classify(tokenizer).decode(np.array([[0, bad, 0]], dtype=np.float32))


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_answers_fit_the_response_schema_and_their_metrics(
    tokenizer: Tokenizer, kind: Kind
) -> None:
    task = classify(tokenizer, kind)
    rows = records(LABELS[kind])
    logits_NC = np.random.default_rng(0).normal(size=(5, task.classes)).astype(np.float32)
    answers = task.decode(logits_NC)
    for answer in answers:
        assert task.response_model().model_validate(answer).model_dump() == answer
    metrics = task.metrics(answers, task.references(rows))
    assert task.metric in metrics


def test_perfect_answers_have_perfect_metrics(tokenizer: Tokenizer) -> None:
    task, rows = classify(tokenizer), records(LABELS["single"])
    sure_NC = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]] * 20
    assert task.metrics(task.decode(sure_NC), task.references(rows))["accuracy"] == 1


def test_a_request_has_a_second_text_only_where_the_task_is_about_two(tokenizer: Tokenizer) -> None:
    ask = classify(tokenizer).request_model()
    assert ask.model_validate({"text": "a"}).model_dump() == {"text": "a"}
    with pytest.raises(ValueError, match="text"):
        ask.model_validate({"words": "a"})
    two = Classify(tokenizer, ["a", "b"], "single", 16, pairs=True).request_model()
    assert two.model_validate({"text": "a", "text_pair": "b"}).model_dump()["text_pair"] == "b"
    with pytest.raises(ValueError, match="text_pair"):
        two.model_validate({"text": "a"})


def test_a_huge_text_keeps_the_same_tokens_and_counts_the_rest(tokenizer: Tokenizer) -> None:
    task = classify(tokenizer)
    text = "房间 很 干净 " * 20
    small, huge = task.encode({"text": text}), task.encode({"text": text * 2000})
    assert huge.ids == small.ids
    assert huge.cut > 1000 * small.cut > 0


def test_repairs_are_those_of_training_and_change_nothing_twice(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    task = classify(tokenizer)
    once = task.repaired({"text": " a\x00  b ", "label": " a "})
    assert once == {"text": "a b", "label": " a "}
    assert task.repaired(once) == once
    kept = Classify(tokenizer, ["a", "b"], "single", 16, repairs=Clean(whitespace=False))
    save_task(kept, tmp_path)
    save_tokenizer(tokenizer, tmp_path, 16)
    assert load_task(tmp_path).repaired({"text": " a "}) == {"text": " a "}


def test_an_unknown_task_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown task 'clasify'; did you mean 'classify'\?"):
        find("clasify")


@pytest.mark.parametrize(
    "raw", [None, "[", "[1]", "{}", '{"task": "classify"}',
            '{"task": "classify", "labels": [], "kind": "x", "max_tokens": 9}']
)  # fmt: skip
def test_a_damaged_task_is_refused(raw: str | None, tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_tokenizer(tokenizer, tmp_path, 16)
    if raw is not None:
        (tmp_path / "task.json").write_text(raw)
    with pytest.raises(CheckpointError, match=r"task\.json"):
        load_task(tmp_path)


def test_task_json_is_plain(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_task(classify(tokenizer), tmp_path)
    raw = json.loads((tmp_path / "task.json").read_text(encoding="utf-8"))
    assert raw == {
        "task": "classify", "labels": ["a", "b", "c"], "kind": "single", "max_tokens": 16,
        "repairs": {
            "unicode": True, "controls": True, "whitespace": True,
            "html": False, "width": "keep", "personal": "keep",
        }, "pairs": False,
    }  # fmt: skip


@pytest.mark.slow
def test_a_task_is_opened_and_decodes_without_torch() -> None:
    code = (
        "import sys, tael.task.classify; from tael.task.base import find; find('classify');"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
