"""`tael.load`: open whatever can answer, write or be looked into, by its path."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tael.compress.manifest import MANIFEST
from tael.data.gguf_lexicon import gguf_lexicon
from tael.data.lexicon import Lexicon, open_lexicon
from tael.data.tokenizer_files import FILES
from tael.engine.loaded import Loaded
from tael.engine.predictor import Engine, open_engine
from tael.engine.runtime import TorchRuntime
from tael.errors import UsageError
from tael.recipe.package import resolve

if TYPE_CHECKING:
    import torch

    from tael.model.settings import Settings

__all__ = ["Loaded", "load"]

DType = Literal["auto", "float32", "bfloat16", "float16", "float64"]
_WORDS = ("tokenizer.json", "vocab.txt", "vocab.json", *FILES)
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")  # of a GGUF file
_END_TEXTS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>")


def load(path: str | Path, dtype: DType = "auto") -> Loaded:
    """Open a run (the variant it serves), a variant, a Hugging Face folder or a GGUF file.

    `path` may be `package://PYTHON_PACKAGE/FOLDER`. `dtype` is the arithmetic of a torch network;
    auto: the file's own, or as the variant says. Raises UsageError where there is none of these.
    """
    wanted = _torch_dtype(dtype)
    place = resolve(str(path))
    if place.suffix == ".gguf" and place.is_file():
        return _gguf(place, wanted)
    is_run = (place / "model" / "config.json").is_file()
    if is_run or (place / MANIFEST).is_file():
        return _answering(open_engine(place), wanted)
    if not (place / "config.json").is_file():
        raise UsageError(
            f"{place}: neither a run, nor a variant, nor a Hugging Face folder (config.json and "
            "model.safetensors), nor a GGUF file"
        )
    if (place / "task.json").is_file():
        return _answering(open_engine(place), wanted)
    return _bare(place, wanted)


def _answering(engine: Engine, dtype: "torch.dtype | None") -> Loaded:
    runtime = engine.runtime
    network = runtime.network if isinstance(runtime, TorchRuntime) else None
    if network is not None and dtype is not None:
        network.to(dtype)  # in place: the engine computes with it too
    lexicon = open_lexicon(engine.folder) if engine.variant.runtime != "linear" else None
    return Loaded(engine.folder, network=network, lexicon=lexicon, engine=engine)


def _bare(folder: Path, dtype: "torch.dtype | None") -> Loaded:
    from tael.model.settings import model_settings
    from tael.model.weights import open_folder

    network, _ = open_folder(folder, dtype=dtype)
    has_words = any((folder / name).is_file() for name in _WORDS)
    lexicon = open_lexicon(folder) if has_words else None
    settings = _ended(model_settings(folder, network.raw or {}), lexicon)
    return Loaded(folder, network=network, lexicon=lexicon, settings=settings)


def _gguf(path: Path, dtype: "torch.dtype | None") -> Loaded:
    from tael.model.gguf import open_gguf
    from tael.model.settings import Settings

    network, said = open_gguf(path, dtype)
    lexicon = gguf_lexicon(said, path)
    settings = _ended(Settings(end=_gguf_ends(said, lexicon)), lexicon)
    return Loaded(path, network=network, lexicon=lexicon, settings=settings)


def _gguf_ends(said: Mapping[str, Any], lexicon: Lexicon) -> tuple[int, ...]:
    """Return the end tokens: a file names one or two, and models write others by the same names."""
    found = [said.get(f"tokenizer.ggml.{name}") for name in _ENDS]
    added = lexicon.tokenizer.get_added_tokens_decoder().items()
    found += [id_ for id_, token in added if token.special and token.content in _END_TEXTS]
    return tuple(dict.fromkeys(int(id_) for id_ in found if id_ is not None))


def _ended(settings: "Settings", lexicon: Lexicon | None) -> "Settings":
    """Return the settings with an end token: the tokenizer's, where the model names none."""
    if settings.end or lexicon is None or lexicon.roles.eos is None:
        return settings
    return replace(settings, end=(lexicon.roles.eos,))


def _torch_dtype(dtype: DType) -> "torch.dtype | None":
    import torch

    known = {
        "auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16,
        "float16": torch.float16, "float64": torch.float64,
    }  # fmt: skip
    if dtype not in known:
        raise UsageError(f"dtype must be one of {', '.join(known)}, found {dtype!r}")
    return known[dtype]
