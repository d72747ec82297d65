"""`tael.load`: open whatever can answer, write or be looked into, by its path."""

import logging
from collections.abc import Mapping
from functools import partial
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

__all__ = ["Loaded", "load"]

_log = logging.getLogger(__name__)

DType = Literal["auto", "float32", "bfloat16", "float16", "float64"]
_WORDS = ("tokenizer.json", "vocab.txt", "vocab.json", *FILES)
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")  # of a GGUF file
_END_TEXTS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>")


def load(path: str | Path, dtype: DType = "auto", bits: Literal[4, 8] | None = None) -> Loaded:
    """Open a run (the variant it serves), a variant, a Hugging Face folder or a GGUF file.

    Also a folder with an adapter of peft's layout, on the weights that it names, apart from them.

    `path` may be `package://PYTHON_PACKAGE/FOLDER` or `hub://OWNER/NAME`. `dtype` is the arithmetic
    of a torch network; auto: the file's own, or as the variant says. `bits` makes the matrices of a
    folder or GGUF file small; auto then computes in bfloat16. A GGUF file's matrices of four bits
    stay so unless a dtype is given. Raises UsageError where there is nothing of these.
    """
    wanted = _torch_dtype(dtype)
    place = resolve(str(path))
    loaded = _gguf(place, wanted, bits) if _is_gguf(place) else _folder(place, wanted, bits)
    if bits is not None:
        _shrink(loaded, bits)
    return loaded


def _is_gguf(place: Path) -> bool:
    return place.suffix == ".gguf" and place.is_file()


def _folder(place: Path, wanted: "torch.dtype | None", bits: int | None) -> Loaded:
    is_run = (place / "model" / "config.json").is_file()
    is_variant = (place / MANIFEST).is_file()
    if (place / "adapter_config.json").is_file():
        return _adapter(place, wanted, bits)
    if not (is_run or is_variant or (place / "config.json").is_file()):
        raise UsageError(
            f"{place}: neither a run, nor a variant, nor a Hugging Face folder (config.json and "
            "model.safetensors), nor a GGUF file"
        )
    if is_run or is_variant or (place / "task.json").is_file():
        if bits is not None:
            raise UsageError(f"{place}: a run's variants have their own numbers; leave bits out")
        return _answering(open_engine(place), wanted)
    return _bare(place, _bf16(wanted, bits))


def _answering(engine: Engine, dtype: "torch.dtype | None") -> Loaded:
    from tael.model.settings import model_settings

    runtime = engine.runtime
    network = runtime.network if isinstance(runtime, TorchRuntime) else None
    if network is not None and dtype is not None:
        network.to(dtype)  # in place: the engine computes with it too
    has_words = engine.variant.runtime != "linear"
    words = partial(open_lexicon, engine.folder) if has_words else None
    # A run of a task that writes ends its texts as it learned to.
    settings = None if network is None else model_settings(engine.folder, network.raw or {})
    return Loaded(engine.folder, network=network, words=words, engine=engine, settings=settings)


def _bare(folder: Path, dtype: "torch.dtype | None") -> Loaded:
    from tael.model.coded_folder import is_coded, open_coded
    from tael.model.settings import model_settings
    from tael.model.weights import open_folder, read_config

    if is_coded(raw := read_config(folder)):
        network = open_coded(folder, raw)
        if dtype is not None:
            network.to(dtype)
    else:
        network, _ = open_folder(folder, dtype=dtype, vocabulary=False)
    has_words = any((folder / name).is_file() for name in _WORDS)
    words = partial(_words, folder, network.config.vocab) if has_words else None
    settings = model_settings(folder, network.raw or {})
    return Loaded(folder, network=network, words=words, settings=settings)


def _adapter(folder: Path, dtype: "torch.dtype | None", bits: int | None) -> Loaded:
    from tael.model.adapter_file import open_adapter
    from tael.model.settings import model_settings

    if bits is not None:
        raise UsageError(f"{folder}: an adapter stands beside whole numbers; leave bits out")
    network, base = open_adapter(folder, dtype)
    has_words = any((base / name).is_file() for name in _WORDS)
    words = partial(_words, base, network.config.vocab) if has_words else None
    settings = model_settings(base, network.raw or {})
    return Loaded(folder, network=network, words=words, settings=settings)


def _words(folder: Path, vocab: int) -> Lexicon:
    """Open the tokenizer of a folder; CheckpointError where it does not fit the weights."""
    from tael.model.vocabulary import check_vocabulary

    for line in check_vocabulary(folder, vocab):
        _log.warning(line)
    return open_lexicon(folder)


def _gguf(path: Path, dtype: "torch.dtype | None", bits: int | None) -> Loaded:
    from tael.model.gguf import open_gguf
    from tael.model.settings import Settings

    network, said = open_gguf(path, _bf16(dtype, bits) if bits == 8 else dtype)
    lexicon = gguf_lexicon(said, path)
    settings = Settings(end=_gguf_ends(said, lexicon))
    return Loaded(path, network=network, words=lambda: lexicon, settings=settings)


def _gguf_ends(said: Mapping[str, Any], lexicon: Lexicon) -> tuple[int, ...]:
    """Return the end tokens: a file names one or two, and models write others by the same names."""
    found = [said.get(f"tokenizer.ggml.{name}") for name in _ENDS]
    added = lexicon.tokenizer.get_added_tokens_decoder().items()
    found += [id_ for id_, token in added if token.special and token.content in _END_TEXTS]
    return tuple(dict.fromkeys(int(id_) for id_ in found if id_ is not None))


def _bf16(dtype: "torch.dtype | None", bits: int | None) -> "torch.dtype | None":
    """Return bfloat16 where small matrices are asked for and no dtype: the fast one on a CPU."""
    import torch

    return torch.bfloat16 if bits is not None and dtype is None else dtype


def _shrink(loaded: Loaded, bits: Literal[4, 8]) -> None:
    """Make the matrices small, unless a file has them so."""
    from tael.model.coded import CodedLinear
    from tael.model.quant import quantise

    if bits not in (4, 8):
        raise UsageError(f"bits must be 4 or 8, found {bits}")
    network = loaded.opened()
    if not any(isinstance(module, CodedLinear) for module in network.modules()):
        quantise(network, bits)


def _torch_dtype(dtype: DType) -> "torch.dtype | None":
    import torch

    known = {
        "auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16,
        "float16": torch.float16, "float64": torch.float64,
    }  # fmt: skip
    if dtype not in known:
        raise UsageError(f"dtype must be one of {', '.join(known)}, found {dtype!r}")
    return known[dtype]
