"""The Trainer of transformers, as its users run it."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import transformers
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from training.turns import Tell

__all__ = ["BEST", "Rows", "blocks", "masked", "training"]

# The settings that its documentation recommends for speed.
BEST: dict[str, Any] = {
    "train_sampling_strategy": "group_by_length",
    "optim": "adamw_torch_fused",
    "dataloader_num_workers": 1,
    "dataloader_persistent_workers": True,
}


class Rows(Dataset):  # type: ignore[type-arg]
    """Texts as ids, or dictionaries of more; the Trainer takes either kind as a dataset."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._rows[index]


class Thinned(Sampler[int]):
    """The middle batch of every few, of another sampler's."""

    def __init__(self, whole: Any, batch: int, every: int) -> None:
        self._whole, self._batch, self._every = whole, batch, every

    def __iter__(self) -> Iterator[int]:
        for number, index in enumerate(self._whole):
            if number // self._batch % self._every == self._every // 2:
                yield index

    def __len__(self) -> int:
        return len(self._whole) // (self._batch * self._every) * self._batch


class Told(transformers.Trainer):
    """Tells of every step what it held, and waits there; nothing else of it is changed.

    Grouped by length, the first steps have the longest texts: only each `every`-th batch is run,
    so that a few steps see all lengths.
    """

    def __init__(self, tell: Tell, every: int, **named: Any) -> None:
        self.tell, self.every, self.held = tell, every, (0, 0)
        super().__init__(callbacks=[AfterStep(self)], **named)

    def _get_train_sampler(self, *more: Any) -> Any:
        """Thin the batches out, where that is asked for."""
        sampler = super()._get_train_sampler(*more)
        if self.every == 1:
            return sampler
        return Thinned(sampler, self.args.per_device_train_batch_size, self.every)

    def training_step(self, model: Any, inputs: Any, *more: Any, **named: Any) -> Tensor:
        """Do the step, and note its tokens."""
        seen, positions = inputs.get("attention_mask"), inputs["input_ids"].numel()
        self.held = (positions if seen is None else int(seen.sum()), positions)
        return super().training_step(model, inputs, *more, **named)


class AfterStep(transformers.TrainerCallback):
    """Says what a step held, and waits for the next turn."""

    def __init__(self, trainer: Told) -> None:
        self._trainer = trainer

    def on_step_end(self, *args: Any, **named: Any) -> None:
        """Say it."""
        self._trainer.tell(*self._trainer.held)


def training(
    model: Any,
    rows: list[dict[str, Any]],
    collate: Any,
    batch: int,
    every: int = 1,
    **settings: Any,
) -> Callable[[Tell], None]:
    """Return a run of the Trainer in bfloat16 over `rows`; `settings` are its own."""
    # The rate stays where it is, for ever: the bench ends the loop.
    usual = {"num_train_epochs": 1000, "learning_rate": 1e-4, "lr_scheduler_type": "constant"}

    def work(tell: Tell) -> None:
        with tempfile.TemporaryDirectory() as folder:
            arguments = transformers.TrainingArguments(
                output_dir=folder,
                bf16=True,
                use_cpu=True,
                per_device_train_batch_size=batch,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **usual | settings,
            )
            data = Rows(rows)
            Told(
                tell, every, model=model, args=arguments, train_dataset=data, data_collator=collate
            ).train()

    return work


def masked(tokenizer: Any) -> Any:
    """Return the collator that hides 15 % of the tokens and pads to the longest of the batch."""
    return transformers.DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.15)


def blocks(ids: list[int], size: int) -> list[dict[str, Any]]:
    """Return the rows that the causal-LM example of transformers makes of a running text."""
    cuts = range(0, len(ids) - size + 1, size)
    return [{"input_ids": ids[c : c + size], "labels": ids[c : c + size]} for c in cuts]
