"""`tael.load`: open whatever can answer, write or be looked into, by its path."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tael.compress.manifest import MANIFEST
from tael.data.tokenizer import load_tokenizer
from tael.engine.loaded import Loaded
from tael.engine.predictor import Engine, open_engine
from tael.engine.runtime import TorchRuntime
from tael.errors import UsageError
from tael.recipe.package import resolve

if TYPE_CHECKING:
    import torch

__all__ = ["Loaded", "load"]

DType = Literal["auto", "float32", "bfloat16", "float16", "float64"]
_WORDS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.spm")


def load(path: str | Path, dtype: DType = "auto") -> Loaded:
    """Open a run (the variant it serves), a variant, a Hugging Face folder or a GGUF file.

    `path` may be `package://PYTHON_PACKAGE/FOLDER`. `dtype` is the arithmetic of a torch network;
    auto: the file's own, or as the variant says. Raises UsageError where there is none of these.
    """
    wanted = _torch_dtype(dtype)
    folder = resolve(str(path))
    is_run = (folder / "model" / "config.json").is_file()
    if is_run or (folder / MANIFEST).is_file():
        return _answering(open_engine(folder), wanted)
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{folder}: neither a run, nor a variant, nor a Hugging Face folder (config.json and "
            "model.safetensors)"
        )
    if (folder / "task.json").is_file():
        return _answering(open_engine(folder), wanted)
    return _bare(folder, wanted)


def _answering(engine: Engine, dtype: "torch.dtype | None") -> Loaded:
    runtime = engine.runtime
    network = runtime.network if isinstance(runtime, TorchRuntime) else None
    if network is not None and dtype is not None:
        network.to(dtype)  # in place: the engine computes with it too
    has_words = engine.variant.runtime != "linear"
    tokenizer = load_tokenizer(engine.folder) if has_words else None
    return Loaded(engine.folder, network=network, tokenizer=tokenizer, engine=engine)


def _bare(folder: Path, dtype: "torch.dtype | None") -> Loaded:
    from tael.model.settings import model_settings
    from tael.model.weights import open_folder

    network, _ = open_folder(folder, dtype=dtype)
    has_words = any(True for name in _WORDS for _ in folder.glob(name))
    tokenizer = load_tokenizer(folder) if has_words else None
    settings = model_settings(folder, network.raw or {})
    return Loaded(folder, network=network, tokenizer=tokenizer, settings=settings)


def _torch_dtype(dtype: DType) -> "torch.dtype | None":
    import torch

    known = {
        "auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16,
        "float16": torch.float16, "float64": torch.float64,
    }  # fmt: skip
    if dtype not in known:
        raise UsageError(f"dtype must be one of {', '.join(known)}, found {dtype!r}")
    return known[dtype]
