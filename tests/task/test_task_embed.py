"""From records to vectors: what is learned, in which batch, and what is answered."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

import tael
from tael.data.record import Record
from tael.data.tokenizer import train_tokenizer
from tael.errors import DataError, RecipeError
from tael.model.config import ModelConfig
from tael.model.head import VectorHead
from tael.model.network import Network, build
from tael.model.sentence import pooling
from tael.model.weights import open_folder, save_folder
from tael.recipe.schema import Columns, Recipe
from tael.recipe.schema import Tokenizer as Spec
from tael.task.base import load_task, save_task
from tael.task.embed import Embed
from tael.task.embed_data import check, check_known, forms, guess, line, survey, taught
from tael.task.grams import NearestPart, SharedWords

TEXTS = [
    "一架飞机正在起飞。",
    "飞机起飞了🙂",
    "a man plays a flute",
    "somebody makes music",
    "早餐一般",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 5, Spec(kind="wordpiece", vocab=120))


def network_of(tokenizer: Tokenizer, dropout: float = 0.0) -> Network:
    config = ModelConfig(
        vocab=tokenizer.get_vocab_size(), hidden=16, layers=1, heads=2, ffn=32, max_positions=64,
        dropout=dropout, attention_dropout=dropout,
    )  # fmt: skip
    return build(config, None, seed=3)


SCORED: list[Record] = [
    {"text": TEXTS[0], "text_pair": TEXTS[1], "score": 5.0},
    {"text": TEXTS[2], "text_pair": TEXTS[3], "score": 3.0},
    {"text": TEXTS[0], "text_pair": TEXTS[4], "score": 0.0},
]
PAIRS: list[Record] = [{"text": r["text"], "text_pair": r["text_pair"]} for r in SCORED]
TRIPLES: list[Record] = [
    {"text": TEXTS[0], "text_pair": TEXTS[4], "negative": TEXTS[1], "label": 2},
    {"text": TEXTS[2], "text_pair": TEXTS[3], "negative": TEXTS[4], "label": 1},
]
KINDS = {"score": SCORED, "pairs": PAIRS, "triples": TRIPLES}


@pytest.mark.parametrize("teaches", KINDS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_gradient_does_not_depend_on_the_micro_batch(
    tokenizer: Tokenizer, teaches: Any, dropout: float
) -> None:
    # With dropout as well: each part is computed again with the numbers it was computed with.
    gradients = []
    for micro in (1, 2, 64):
        task = Embed(tokenizer, teaches, 32, micro=micro, sizes=(4, 8), high=5.0)
        network = network_of(tokenizer, dropout if micro < 64 else 0.0).double().train()
        if dropout and micro == 2:
            network = network_of(tokenizer, dropout).double().train()
        torch.manual_seed(1)
        loss = task.objective(network, task.collate(task.encode_many(KINDS[teaches])))
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert gradients[0].abs().max() > 0
    if not dropout:
        for other in gradients[1:]:
            assert torch.allclose(gradients[0], other, rtol=1e-5, atol=1e-7)


def test_a_part_is_computed_again_with_the_same_dropout(tokenizer: Tokenizer) -> None:
    task, network = Embed(tokenizer, "score", 32, micro=1, high=5.0), network_of(tokenizer, 0.3)
    batch = task.collate(task.encode_many(SCORED[:1]))
    network.train()
    weight = network.body.embedding.tokens.weight

    def loss_at(step: float) -> tuple[float, torch.Tensor]:
        with torch.no_grad():
            weight.add_(direction, alpha=step)
        torch.manual_seed(5)
        network.zero_grad()
        loss = task.objective(network, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            weight.sub_(direction, alpha=step)
        assert weight.grad is not None
        return loss.item(), weight.grad.clone()

    direction = torch.zeros_like(weight)
    direction = loss_at(0.0)[1]
    up, down = loss_at(1e-3)[0], loss_at(-1e-3)[0]
    slope = float(direction.square().sum())
    assert (up - down) / 2e-3 == pytest.approx(slope, rel=0.02)


def test_company_in_the_batch_changes_a_contrastive_loss_and_not_a_score(
    tokenizer: Tokenizer,
) -> None:
    network = network_of(tokenizer).eval()
    for teaches, alone in (("score", True), ("pairs", False)):
        task = Embed(tokenizer, teaches, 32, high=5.0)  # type: ignore[arg-type]  # one of two
        examples = task.encode_many(KINDS[teaches][:2])
        with torch.inference_mode():
            both = float(task.objective(network, task.collate(examples)))
            each = sum(float(task.objective(network, task.collate([one]))) for one in examples)
        assert (both == pytest.approx(each, abs=1e-5)) == alone


def test_one_text_gives_its_vector_two_their_cosine_three_the_nearer(tokenizer: Tokenizer) -> None:
    network = network_of(tokenizer).eval()
    task = Embed(tokenizer, "triples", 32)
    records: list[Record] = [{"text": t} for t in TEXTS[:3]]
    records += [{"text": TEXTS[0], "text_pair": TEXTS[1]}]
    records += [{"text": TEXTS[0], "text_pair": TEXTS[1], "negative": TEXTS[2]}]
    examples = task.encode_many(records)
    answers = task.decode(task.outputs(network, examples, [range(5)]), examples)
    a, b, c = (np.array(answer["vector"]) for answer in answers[:3])
    assert np.linalg.norm(a) == pytest.approx(1, abs=1e-5)
    assert answers[3] == {"score": pytest.approx(float(a @ b), abs=1e-5)}
    assert answers[4]["scores"] == pytest.approx([float(a @ b), float(a @ c)], abs=1e-5)
    assert answers[4]["nearer"] == (1 if a @ b >= a @ c else 2)
    for answer in answers:
        task.response_model().model_validate(answer)


def test_a_pair_is_sought_among_the_distinct_second_texts(tokenizer: Tokenizer) -> None:
    task = Embed(tokenizer, "pairs", 32)
    network = network_of(tokenizer).eval()
    records = [{"text": text, "text_pair": text} for text in (*TEXTS, TEXTS[0])]
    examples = task.encode_many(records)
    answers = task.decode(task.outputs(network, examples, [range(6)]), examples)
    found = task.metrics(answers, task.references(records))
    assert found["recall@1"] == found["ndcg@10"] == found["mrr"] == 1.0


def test_long_texts_are_cut_and_the_loss_is_counted(tokenizer: Tokenizer) -> None:
    task, record = Embed(tokenizer, "score", 8), {"text": "一a二b三c四d五e", "text_pair": "a"}
    whole = Embed(tokenizer, "score", 64).encode(record)
    short = task.encode(record)
    assert len(short.ids) == 8
    assert short.ids[-1] == whole.ids[-1]
    kept = len(short.ids) + len(short.note[0])
    assert short.cut == len(whole.ids) + len(whole.note[0]) - kept
    with pytest.raises(RecipeError, match=r"data\.max_tokens"):
        Embed(tokenizer, "score", 99).head(network_of(tokenizer).config)


def saved(tokenizer: Tokenizer, folder: Path, pool: Any = "mean") -> tuple[Embed, Network]:
    task, network = Embed(tokenizer, "score", 32, pool=pool), network_of(tokenizer).eval()
    save_folder(folder, network, tokenizer=tokenizer)
    save_task(task, folder)
    return task, network


@pytest.mark.parametrize("pool", ["mean", "cls", "last"])
def test_a_saved_model_is_a_folder_of_sentence_transformers(
    tokenizer: Tokenizer, tmp_path: Path, pool: Any
) -> None:
    task, network = saved(tokenizer, tmp_path, pool)
    words = {"mean": "mean", "cls": "cls", "last": "lasttoken"}
    found = pooling(tmp_path)
    assert found is not None
    assert (found.modes, found.max_tokens) == ((words[pool],), 32)
    again, other = load_task(tmp_path), open_folder(tmp_path)[0]
    batch = task.collate(task.encode_many(SCORED))
    with torch.inference_mode():
        assert torch.equal(task.logits(network, batch), again.logits(other, batch))


def test_units_count_by_rareness_at_first_and_what_they_learned_is_saved(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    recipe = Recipe.model_validate(
        {"name": "x", "task": "embed", "embed": {"weights": True},
         "data": {"train": ["x.csv"], "max_tokens": 32, "columns": {"text_pair": "text_pair"}}}
    )  # fmt: skip
    task = Embed.from_records(SCORED * 2, recipe, tokenizer)
    plain = network_of(tokenizer)
    network = build(plain.config, task.head(plain.config), seed=3).eval()
    assert isinstance(network.head, VectorHead)
    assert network.head.rare is not None
    with torch.no_grad():
        network.head.rare[7] = 2.5  # as if learned
    save_folder(tmp_path, network, tokenizer=tokenizer)
    save_task(task, tmp_path)
    again, other = load_task(tmp_path), open_folder(tmp_path)[0]
    batch = task.collate(task.encode_many(SCORED))
    with torch.inference_mode():
        ours, theirs = task.logits(network, batch), again.logits(other, batch)
        alike = Embed(tokenizer, "score", 32).logits(plain, batch)
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert not torch.allclose(ours, alike, atol=1e-3)
    vectors = tael.load(tmp_path).embed([SCORED[0]["text"]])
    assert np.allclose(vectors[0], ours[0].numpy(), atol=1e-5)


@pytest.mark.slow
def test_sentence_transformers_gives_the_same_vectors(tokenizer: Tokenizer, tmp_path: Path) -> None:
    theirs = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    task, network = saved(tokenizer, tmp_path)
    examples = task.encode_many([{"text": text} for text in TEXTS])
    ours = np.concatenate(task.outputs(network, examples, [range(len(TEXTS))]))
    model = theirs.SentenceTransformer(str(tmp_path), device="cpu")
    assert np.allclose(model.encode(TEXTS), ours, atol=1e-5)


def columns(**names: Any) -> Columns:
    return Columns(text="a", text_pair="b", **names)


def lay(row: Record, **names: Any) -> Record:
    form = forms(columns(**names))[0]
    texts = {"text": row["a"], "text_pair": row["b"]}
    if "negative" in names:
        texts["negative"] = row[names["negative"]]
    others = {k: v for k, v in row.items() if k not in ("a", "b", names.get("negative"))}
    return form.lay({"@": "x.csv:3", **texts, **others}, str.strip, Counter())


def test_rows_become_pairs_with_or_without_a_score_and_triples() -> None:
    scored = lay({"a": " x ", "b": "y", "s": "2.5"}, score="s")
    assert (scored["text"], scored["score"]) == ("x", 2.5)
    assert taught([scored]) == "score"
    assert taught([lay({"a": "x", "b": "y"})]) == "pairs"
    triple = lay({"a": "x", "b": "y", "c": "z", "label": "2"}, negative="c")
    assert (taught([triple]), triple["label"]) == ("triples", 2)
    assert line(scored) == "2.5  x ¦ y"
    with pytest.raises(DataError, match=r"x\.csv:3: score must be a number"):
        lay({"a": "x", "b": "y", "score": "high"})
    with pytest.raises(DataError, match="label must be 1"):
        lay({"a": "x", "b": "y", "c": "z", "label": 0}, negative="c")


def test_records_that_teach_nothing_are_refused() -> None:
    one = Recipe.model_validate({"name": "x", "task": "embed", "data": {"train": ["x.csv"]}})
    two = Recipe.model_validate(
        {"name": "x", "task": "embed",
         "data": {"train": ["x.csv"], "columns": {"text_pair": "b"}}}
    )  # fmt: skip
    with pytest.raises(DataError, match=r"data\.columns\.text_pair=NAME"):
        check("train", [{"text": "a"}], one)
    with pytest.raises(DataError, match="no score, nor have 1 of 2 records"):
        check("train", [SCORED[0], PAIRS[0]], two)
    with pytest.raises(DataError, match="every score is 5"):
        survey({"train": [SCORED[0]]}, two)
    with pytest.raises(DataError, match="dev needs three texts"):
        check_known("dev", PAIRS, "triples")


def test_files_of_stsb_and_triclue_are_known_by_their_columns() -> None:
    stsb = {"sentence1": "a", "sentence2": "b", "score_0_5": 1}
    assert guess([stsb]) == [
        "data.columns.text=sentence1", "data.columns.text_pair=sentence2",
        "data.columns.score=score_0_5",
    ]  # fmt: skip
    triclue = {f"sentence_{n}": "a" for n in range(3)}
    assert "data.columns.negative=sentence_2" in (guess([triclue]) or [])
    assert guess([{"text": "a", "label": "b"}]) is None


def test_shared_words_are_chosen_by_dev_and_answer_pairs_and_triples() -> None:
    task = Embed.__new__(Embed)
    task.teaches, task.metric = "score", "spearman"
    words = SharedWords.chosen(task, SCORED * 2, SCORED)
    scores = [answer["score"] for answer in words.predict(SCORED)]
    assert scores[0] > scores[2]  # only characters see what the Chinese pair shares
    nearer = [answer["nearer"] for answer in words.predict(TRIPLES)]
    assert nearer[0] == 2


def test_the_nearest_part_is_a_clause_or_a_chinese_sentence() -> None:
    part = NearestPart(["Rome is old, the Tiber is wet.", "北京很大，也很古老。上海更大。"])
    english = {"context": "Rome is old, the Tiber is wet.", "question": "How wet is the Tiber?"}
    chinese = {"context": "北京很大，也很古老。上海更大。", "question": "北京大吗？"}
    answers = part.predict([english, chinese])
    assert [answer["answer"] for answer in answers] == ["the Tiber is wet", "北京很大，也很古老"]
    for record, answer in zip((english, chinese), answers, strict=True):
        assert record["context"][answer["start"] : answer["end"]] == answer["answer"]
