"""Folders of sentence-transformers: how the states of a text's tokens become one vector.

`modules.json` lists what follows the network: a pooling, then dense layers and a normalisation in
any order. Reimers & Gurevych 2019, Sentence-BERT, arXiv:1908.10084.

Letters: B rows · T positions · D hidden · E size of the vector.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from tael.errors import CheckpointError
from tael.files import atomic_file, write_text
from tael.model.ffn import activation
from tael.model.header import find_sources

__all__ = ["Pooling", "pooling", "save_pooling"]

_MODULES = "modules.json"
_FLAGS = {  # of files before `pooling_mode`; where several are true, the vectors stand side by side
    "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean", "pooling_mode_lasttoken": "lasttoken",
}  # fmt: skip
_BENDS = {
    "Identity": None, "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu",
    "Sigmoid": "sigmoid",
}  # fmt: skip
Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Dense:
    """A layer after the pooling: matrix, bias, activation."""

    weight_ED: Tensor
    bias_E: Tensor | None
    bend: Step | None

    def __call__(self, x_BD: Tensor) -> Tensor:
        """Return (B, E)."""
        x_BE = F.linear(x_BD, self.weight_ED, self.bias_E)
        return x_BE if self.bend is None else self.bend(x_BE)


def _unit(x_BE: Tensor) -> Tensor:
    """Bring every row to length 1."""
    return F.normalize(x_BE, dim=-1)


@dataclass(frozen=True, slots=True)
class Pooling:
    """What a folder does with states, and with texts before: the mean of length 1, if not told."""

    modes: tuple[str, ...] = ("mean",)
    steps: tuple[Step, ...] = (_unit,)
    max_tokens: int | None = None  # specials included; None: as many as there are positions
    lower: bool = False
    prompt: str = ""  # stands before every text
    counts_V: Tensor | None = None  # how much each unit counts; None: all the same

    def __call__(self, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Return one vector a row, (B, E), float32; the mask is what a token counts, padding 0."""
        states_BTD, real_BT1 = hidden_BTD.float(), mask_BT[:, :, None].float()
        x_BE = torch.cat([_MODES[mode](states_BTD, real_BT1) for mode in self.modes], dim=-1)
        for step in self.steps:
            x_BE = step(x_BE)
        return x_BE

    def counted(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return how much each token counts, (B, T), from the ids and the mask."""
        return mask_BT if self.counts_V is None else mask_BT * self.counts_V[ids_BT]

    def size(self, hidden: int) -> int:
        """Return E for states of D numbers; CheckpointError where a dense layer does not fit."""
        size = hidden * len(self.modes)
        for step in self.steps:
            if isinstance(step, _Dense):
                out, into = step.weight_ED.shape
                if into != size:
                    raise CheckpointError(
                        f"{_MODULES}: a Dense reads {into} numbers, it gets {size}"
                    )
                size = out
        return size

    def texts(self, texts: list[str]) -> list[str]:
        """Return the texts as the tokenizer gets them."""
        whole = [self.prompt + text for text in texts]
        # By character, as tokenizers do: a whole word's lower case may depend on its end.
        return ["".join(map(str.lower, text)) for text in whole] if self.lower else whole


def _max(states_BTD: Tensor, real_BT1: Tensor) -> Tensor:
    return states_BTD.masked_fill(real_BT1 == 0, -torch.inf).amax(dim=1)


def _mean(states_BTD: Tensor, real_BT1: Tensor) -> Tensor:
    return (states_BTD * real_BT1).sum(dim=1) / real_BT1.sum(dim=1)


def _root(states_BTD: Tensor, real_BT1: Tensor) -> Tensor:
    return (states_BTD * real_BT1).sum(dim=1) / real_BT1.sum(dim=1).sqrt()


def _weighted(states_BTD: Tensor, real_BT1: Tensor) -> Tensor:
    """Weigh each token by its place, the first one with 1 (Muennighoff 2022, arXiv:2202.08904)."""
    return _mean(states_BTD, real_BT1 * real_BT1.cumsum(dim=1))


def _last(states_BTD: Tensor, real_BT1: Tensor) -> Tensor:
    rows = torch.arange(len(states_BTD), device=states_BTD.device)
    return states_BTD[rows, real_BT1.sum(dim=(1, 2)).long() - 1]


_MODES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": lambda states_BTD, real_BT1: states_BTD[:, 0], "max": _max, "mean": _mean,
    "mean_sqrt_len_tokens": _root, "weightedmean": _weighted, "lasttoken": _last,
}  # fmt: skip


def pooling(folder: Path) -> Pooling | None:
    """Return how a folder of sentence-transformers makes vectors; None where it is none.

    CheckpointError where it lists a module that is not known here, or a file cannot be understood.
    """
    if not (folder / _MODULES).is_file():
        return None
    try:
        return _read(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{folder / _MODULES}: or a file it names cannot be understood: {error!r}"
        ) from error


def _read(folder: Path) -> Pooling:
    modes: tuple[str, ...] | None = None
    steps: list[Step] = []
    counts_V: Tensor | None = None
    for module in _json(folder / _MODULES):
        package, _, name = str(module["type"]).rpartition(".")
        path = _inside(folder, str(module["path"]))
        if not package.startswith("sentence_transformers."):
            name = f"{package}.{name}"  # somebody's own code
        if name == "WordWeights" and modes is None and counts_V is None:
            counts_V = _counts(path / "config.json")
        elif name == "Pooling" and modes is None:
            modes = _modes(path / "config.json")
        elif name == "Normalize" and modes is not None:
            steps.append(_unit)
        elif name == "Dense" and modes is not None:
            steps.append(_dense(path))
        elif name != "Transformer" or modes is not None or path != folder:
            raise CheckpointError(
                f"{folder / _MODULES}: {name} in {module['path']!r} is not supported; known: "
                "Transformer in the folder itself, perhaps WordWeights, then Pooling, then any of "
                "Dense and Normalize"
            )
    if modes is None:
        raise CheckpointError(f"{folder / _MODULES}: lists no Pooling")
    said = _json(folder / "sentence_bert_config.json", {})
    most = said.get("max_seq_length") or _json(folder / "tokenizer_config.json", {}).get(
        "model_max_length"
    )
    whole = isinstance(most, int) and most > 0
    lower = bool(said.get("do_lower_case", False))
    limit = most if whole else None
    return Pooling(modes, tuple(steps), limit, lower, _prompt(folder), counts_V)


def _counts(path: Path) -> Tensor:
    raw = _json(path)
    unknown = float(raw.get("unknown_word_weight", 1))
    return torch.tensor([float(raw["word_weights"].get(unit, unknown)) for unit in raw["vocab"]])


def _inside(folder: Path, path: str) -> Path:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise CheckpointError(f"{folder / _MODULES}: {path!r} leaves the folder")
    return folder / path


def _json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.is_file():
        return default
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    kind = list if path.name == _MODULES else Mapping
    if not isinstance(found, kind):
        raise CheckpointError(f"{path}: expected {kind.__name__}, found {type(found).__name__}")
    return found


def _modes(path: Path) -> tuple[str, ...]:
    raw = _json(path)
    found = raw.get("pooling_mode") or [mode for flag, mode in _FLAGS.items() if raw.get(flag)]
    modes = (found,) if isinstance(found, str) else tuple(found)
    unknown = [mode for mode in modes if mode not in _MODES]
    if unknown:
        raise CheckpointError(f"{path}: pooling {unknown[0]!r} is not one of {', '.join(_MODES)}")
    if raw.get("include_prompt") is False and _prompt(path.parents[1]):
        raise CheckpointError(f"{path}: include_prompt false, with a default prompt, is not known")
    return modes or ("mean",)


def _prompt(folder: Path) -> str:
    raw = _json(folder / "config_sentence_transformers.json", {})
    name = raw.get("default_prompt_name")
    return "" if name is None else str(raw["prompts"][name])


def _dense(folder: Path) -> _Dense:
    path = folder / "config.json"
    raw = _json(path)
    bend = str(raw.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = bend.rpartition(".")[2]
    if not bend.startswith("torch.nn.") or name not in _BENDS:
        raise CheckpointError(f"{path}: activation {bend!r} is not one of {', '.join(_BENDS)}")
    plain = raw.get("module_input_name", "sentence_embedding") == "sentence_embedding"
    if raw.get("use_residual") or not plain or raw.get("module_output_name") not in (
        None, "sentence_embedding",
    ):  # fmt: skip
        raise CheckpointError(f"{path}: only a plain layer from vector to vector is supported")
    sources = find_sources(folder)  # checked, and never a pickle
    tensors: dict[str, Tensor] = {}
    for file in {source.path for source in sources.values()}:
        tensors |= load_file(file)
    size = [int(raw["out_features"]), int(raw["in_features"])]
    wanted = {"linear.weight": size} | ({"linear.bias": size[:1]} if raw.get("bias", True) else {})
    found = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if found != wanted:
        raise CheckpointError(f"{folder}: holds {found}, its config asks for {wanted}")
    bias = tensors.get("linear.bias")
    bent = _BENDS[name]
    return _Dense(
        tensors["linear.weight"].float(),
        None if bias is None else bias.float(),
        None if bent is None else activation(bent),
    )


def save_pooling(
    folder: Path, mode: str, hidden: int, max_tokens: int, counts: Mapping[str, float] | None = None
) -> None:
    """Write what makes a folder with a network one of sentence-transformers.

    `mode` is their word: mean, cls, lasttoken. The vector is then brought to length 1. `counts` is
    how much each unit counts, in the order of the ids; None: all the same.
    """
    package = "sentence_transformers.models"
    modules = [
        {"idx": at, "name": str(at), "path": path, "type": f"{package}.{kind}"}
        for at, (path, kind) in enumerate(
            [
                ("", "Transformer"),
                *([] if counts is None else [("0_WordWeights", "WordWeights")]),
                ("1_Pooling", "Pooling"),
                ("2_Normalize", "Normalize"),
            ]
        )
    ]
    flags = {flag: name == mode for flag, name in _FLAGS.items()}
    sizes = {"word_embedding_dimension": hidden, "include_prompt": True}
    said = {"max_seq_length": max_tokens, "do_lower_case": False}
    if counts is not None:
        (folder / "0_WordWeights").mkdir(parents=True, exist_ok=True)
        weights = {"vocab": list(counts), "word_weights": dict(counts), "unknown_word_weight": 1}
        text = json.dumps(weights, ensure_ascii=False) + "\n"
        write_text(folder / "0_WordWeights" / "config.json", text)
        matrix_V1 = torch.tensor(list(counts.values()))[:, None]
        with atomic_file(folder / "0_WordWeights" / "model.safetensors") as draft:
            save_file({"emb_layer.weight": matrix_V1}, draft, metadata={"format": "pt"})
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    for name, raw in (
        (_MODULES, modules), ("1_Pooling/config.json", sizes | flags),
        ("sentence_bert_config.json", said),
        ("config_sentence_transformers.json", {"prompts": {}, "default_prompt_name": None}),
    ):  # fmt: skip
        write_text(folder / name, json.dumps(raw, indent=2) + "\n")
