"""Laws of every task: what training, pricing and the service ask of it. A new one is listed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_samples import ROWS, network_of, recipe_of, records_of, task_of
from tokenizers import Tokenizer

from tael.data.tokenizer import save_tokenizer, train_tokenizer
from tael.recipe.schema import Tokenizer as Spec
from tael.task.answer import asked, owners
from tael.task.base import TASKS, Tally, find, load_task, save_task
from tael.task.view import record_views

EVERY = pytest.mark.parametrize("name", TASKS)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [str(value) for rows in ROWS.values() for row in rows for value in row.values()]
    return train_tokenizer(texts * 5, Spec(kind="wordpiece", vocab=150))


@EVERY
def test_a_task_comes_back_from_its_folder(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    task = task_of(name, tokenizer)
    save_task(task, tmp_path)
    save_tokenizer(tokenizer, tmp_path, 32)
    again = load_task(tmp_path)
    assert again.to_json() == task.to_json()
    assert again.encode_many(records_of(name)) == task.encode_many(records_of(name))


@EVERY
def test_an_untrained_network_answers_each_record_once(name: str, tokenizer: Tokenizer) -> None:
    task, records = task_of(name, tokenizer), records_of(name)
    network = network_of(name, task)
    examples, tally = task.encode_many(records), Tally()
    outputs = task.outputs(network, examples, [[n] for n in range(len(examples))], tally)
    answers = task.decode(outputs, examples)
    assert len(answers) == len(records) == len(owners(examples))
    assert np.isfinite(tally.mean)
    metrics = task.metrics(answers, task.references(records))
    assert task.metric in metrics
    assert set(metrics) <= set(task.metric_names(recipe_of(name)))


@EVERY
def test_company_changes_no_answer(name: str, tokenizer: Tokenizer) -> None:
    task, records = task_of(name, tokenizer), records_of(name)
    network = network_of(name, task)
    examples = task.encode_many(records)
    alone = task.outputs(network, examples, [[n] for n in range(len(examples))])
    together = task.outputs(network, examples, [list(range(len(examples)))])
    for one, other in zip(alone, together, strict=True):
        if isinstance(one, tuple):  # a text that was written
            assert one == other
        else:
            assert np.allclose(one, other, atol=1e-5)


@EVERY
def test_the_objective_is_the_loss_of_the_logits(name: str, tokenizer: Tokenizer) -> None:
    task = task_of(name, tokenizer)
    network = network_of(name, task)
    batch = task.collate(task.encode_many(records_of(name)))
    assert task.supervised(batch) > 0
    loss = task.loss(task.logits(network, batch), batch)
    assert torch.allclose(task.objective(network, batch), loss, rtol=1e-5)


@EVERY
def test_a_request_holds_what_an_answer_needs_and_no_more(name: str, tokenizer: Tokenizer) -> None:
    task, records = task_of(name, tokenizer), records_of(name)
    for record, whole in zip(records, task.encode_many(records), strict=True):
        asked_for = asked(task, record)
        task.request_model().model_validate(asked_for)
        plain = task.encode(asked_for)
        assert plain.ids == whole.ids
        assert plain.target is None


@EVERY
def test_each_view_shows_every_token_and_what_is_learned(name: str, tokenizer: Tokenizer) -> None:
    task, records = task_of(name, tokenizer), records_of(name)
    for view, example in zip(record_views(task, records), task.encode_many(records), strict=True):
        written = task.lesson(records[example.of], example).written
        assert len(view.pieces) == len(example.ids) + len(written)
        assert any(piece.mark == "target" for piece in view.pieces)


@EVERY
def test_the_survey_and_a_line_need_no_tokenizer(name: str) -> None:
    found = find(name).survey({"train": records_of(name)}, recipe_of(name))
    assert all(count > 0 for count in found.values())
    assert all(find(name).line(record) for record in records_of(name))


# Losses of pairs within a batch: there the batch is part of what is asked.
CONTRASTIVE = ("embed",)


@pytest.mark.parametrize("name", [name for name in TASKS if name not in CONTRASTIVE])
def test_the_gradient_does_not_depend_on_how_a_step_is_cut(name: str, tokenizer: Tokenizer) -> None:
    """A mean of means would: short micro-batches would weigh as much as long ones."""
    task = task_of(name, tokenizer)
    network = network_of(name, task).double()
    examples = task.encode_many(records_of(name))

    def gradient(parts: list[list[Any]]) -> torch.Tensor:
        network.zero_grad()
        batches = [task.collate(part) for part in parts]
        total = sum(task.supervised(batch) for batch in batches)
        for batch in batches:
            (task.loss(task.logits(network, batch), batch) / total).backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    whole = gradient([examples])
    assert whole.abs().max() > 0
    assert torch.allclose(gradient([[one] for one in examples]), whole, atol=1e-6)
    assert torch.allclose(gradient([examples[:1], examples[1:]]), whole, atol=1e-6)
