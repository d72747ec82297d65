"""A few records of every task, and the recipe that reads them: what all tasks are tested with.

A new task adds a row here; `test_task_every.py` does the rest.
"""

from typing import Any

from tokenizers import Tokenizer

from tael.data.clean import clean
from tael.data.record import Record
from tael.model.fresh import new_config
from tael.model.network import Network, build
from tael.recipe.schema import Recipe
from tael.task.base import Task, find

# Rows as a file would hold them, and settings beside `task` and `data.train`.
ROWS: dict[str, list[Record]] = {
    "classify": [
        {"text": "房间很干净，服务很好。", "label": "好"},
        {"text": "a clean room and a kind staff", "label": "好"},
        {"text": "早餐一般", "label": "差"},
        {"text": "不会再来了 never again", "label": "差"},
    ],
    "tag": [
        {"tokens": ["Ana", "likes", "Rome"], "tags": ["B-person", "O", "B-place"]},
        {"tokens": ["小", "明", "在", "北", "京"],
         "tags": ["B-person", "I-person", "O", "B-place", "I-place"]},
        {"tokens": ["nothing", "🙂"], "tags": ["O", "O"]},
    ],
    "embed": [
        {"text": "一架飞机正在起飞。", "text_pair": "飞机起飞了", "score": 5},
        {"text": "a man plays a flute", "text_pair": "早餐一般", "score": 0.4},
        {"text": "🙂", "text_pair": "a smile", "score": "2.5"},
    ],
    "chat": [
        {"messages": [{"role": "user", "content": "hi"},
                      {"role": "assistant", "content": "你好🙂"}]},
        {"conversations": [
            {"from": "system", "value": "be kind"}, {"from": "human", "value": "again"},
            {"from": "gpt", "value": "no"}, {"from": "human", "value": "why"},
            {"from": "gpt", "value": "so"}]},
        {"instruction": "say", "input": "[SEP]", "output": "early  end"},
    ],
    "seq2seq": [
        {"source": "a clean room", "target": "一间干净的房间"},
        {"source": "早餐一般🙂", "target": "breakfast was so-so"},
        {"source": "again", "target": "又"},
    ],
    "clm": [
        {"text": "a clean room and a kind staff, again and again and again"},
        {"text": "早餐一般🙂"},
        {"text": "again"},
    ],
    "qa": [
        {"context": "Rome is on the Tiber.", "question": "Where?",
         "answers": [{"text": "on the Tiber", "start": 8}]},
        {"context": "北京是首都🙂。", "question": "首都？",
         "answers": {"text": ["北京"], "answer_start": [0]}},
        {"context": "nothing here", "question": "Who?", "answers": []},
    ],
}  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "clm": {"data": {"max_tokens": 64}, "model": {"architecture": "decoder"}},
    "embed": {"data": {"columns": {"text_pair": "text_pair"}}},
    "qa": {"data": {"max_tokens": 64}},
    "chat": {
        "model": {"architecture": "decoder"},
        "chat": {"longest": 8},
        "data": {"max_tokens": 64},
    },
    "seq2seq": {"model": {"architecture": "encoder-decoder"}, "seq2seq": {"longest": 12}},
}


def recipe_of(name: str) -> Recipe:
    settings: dict[str, Any] = {"data": {}} | SETTINGS.get(name, {})
    data = {"train": ["x.jsonl"], "max_tokens": 32} | settings["data"]
    return Recipe.model_validate({"name": "x", "task": name, **settings, "data": data})


def records_of(name: str) -> list[Record]:
    from collections import Counter

    recipe = recipe_of(name)
    rows = [{**row, "@": f"x.jsonl:{at + 1}"} for at, row in enumerate(ROWS[name])]
    forms = find(name).forms(recipe.data.columns)
    return list(clean(rows, recipe.data.columns, recipe.data.clean, Counter(), forms=forms))


def task_of(name: str, tokenizer: Tokenizer) -> Task:
    task: Task = find(name).from_records(records_of(name), recipe_of(name), tokenizer)
    return task


def network_of(name: str, task: Task) -> Network:
    """Return a small network of the recipe's architecture, untrained."""
    sizes = {"hidden": 16, "layers": 1, "heads": 2, "ffn": 32}
    model = recipe_of(name).model.model_copy(update=sizes)
    config = new_config(model, task.tokenizer.get_vocab_size(), 64)
    return build(config, task.head(config), seed=1).eval()
