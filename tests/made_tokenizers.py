"""Texts that break tokenizers, and folders of small tokenizers of every kind to break with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

TORTURE = [
    "", " ", "  ", "a", " a", "a ", "  a  b   c  ", "Hello, world! It's 5 o'clock; they'll've.",
    "酒店的服务不错，房间很好！", "日本語のテキスト、カタカナ ﾊﾝｶｸ", "한국어 텍스트", "𠀀𝔘𝔫𝔦 𐍈",
    "👩\u200d👩\u200d👧👋🏽 🏳️\u200d🌈 ❤️ 🇩🇪🙂", "שלום עולם مرحبا بالعالم", "नमस्ते दुनिया ไทย தமிழ்",
    "zero\u200bwidth\u200djoin\ufeffbom\u2060", "e\u0301a\u0308 n\u0303 Å ﬁ ½ ① Ａ ™ …",
    "Z̷̡̛a̸l̶g̵o̷", "naïve straße İstanbul ǅ", "-=_*'`\"«»„“", "\u00a0nbsp\u3000wide\u2003em",
    "def f(x):\n\tif x:\n\t\treturn  x\n    # four\n        eight\n", "    " * 20, "龘" * 50,
    "1234567890 3.14159 1,000,000 12 123 ٣٤٥ Ⅷ ²", "a\u0001b\u0007c\u001bd\u007fe", "<0x41> ▁ ▁▁a",
    "line1\nline2\r\nline3\n\n\nline6", "\t\ttabs\t", "\n\n", "http://a.b/c?d=e&f=%20#g x@bar.com",
]  # fmt: skip
FORGED = [
    "</s>", "<s>", "a <mask> b", "[MASK]", "[CLS][SEP]", "<|im_end|>", "<|endoftext|>", "en_XX",
    "<extra_id_3>", "<unk_5>", ">>fra<< hello", "<start_of_turn>", "x</s></s>y", " <pad>", "<bos>",
]  # fmt: skip
TEXTS = [
    f"{text} {word}"
    for text in TORTURE
    for word in ("the movie was good", "酒店的服务不错", "un jour à Paris")
] * 4
_FAIRSEQ = {
    "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
    "pad_token": "<pad>", "cls_token": "<s>",
    "mask_token": {
        "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False,
        "single_word": False,
    },
}  # fmt: skip


def described(folder: Path, model_type: str, config: dict[str, Any] | None) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))


def byte_level(folder: Path, special: list[str]) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=special,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.model.save(str(folder))
    return tokenizer.get_vocab_size()


def sentence_pieces(path: Path, **settings: Any) -> None:
    library = pytest.importorskip("sentencepiece")
    library.SentencePieceTrainer.Train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(path.with_suffix("")),
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **{"vocab_size": 500, "character_coverage": 0.98} | settings,
    )
    path.with_suffix(".model").rename(path)
    path.with_suffix(".vocab").unlink()


def bert(folder: Path, config: dict[str, Any] | None = None) -> None:
    described(folder, "bert", config)
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=names, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.model.save(str(folder))


def bert_cased(folder: Path) -> None:
    bert(folder, {"do_lower_case": False, "tokenizer_class": "BertTokenizer"})


def bert_odd(folder: Path) -> None:
    odd = {"strip_accents": False, "tokenize_chinese_chars": False}
    bert(folder, odd | {"tokenizer_class": "BertTokenizerFast", "do_lower_case": True})


def mpnet(folder: Path) -> None:
    bert(folder)
    described(folder, "mpnet", {"tokenizer_class": "MPNetTokenizer"})
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words[:5] = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")


def gpt2(folder: Path) -> None:
    described(folder, "gpt2", {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024})
    byte_level(folder, ["<|endoftext|>"])


def roberta(folder: Path) -> None:
    described(folder, "roberta", {"tokenizer_class": "RobertaTokenizer"})
    byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    (folder / "special_tokens_map.json").write_text(json.dumps(_FAIRSEQ))


def bart(folder: Path) -> None:
    roberta(folder)
    described(folder, "bart", {"tokenizer_class": "BartTokenizer", "add_prefix_space": True})


def qwen2(folder: Path) -> None:
    units = byte_level(folder, [])
    added = {"<|endoftext|>": True, "<|im_start|>": True, "<|im_end|>": True, "<think>": False}
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    listed = {
        str(units + number): {"content": text, "special": special, **flags}
        for number, (text, special) in enumerate(added.items())
    }
    config = {
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "bos_token": None,
        "pad_token": "<|endoftext|>", "unk_token": None, "added_tokens_decoder": listed,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "add_prefix_space": False,
    }  # fmt: skip
    described(folder, "qwen2", config)


def t5(folder: Path) -> None:
    described(folder, "t5", {"tokenizer_class": "T5Tokenizer"})
    sentence_pieces(folder / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


def pegasus(folder: Path) -> None:
    t5(folder)
    described(folder, "pegasus", {"tokenizer_class": "PegasusTokenizer"})


def albert(folder: Path) -> None:
    described(folder, "albert", {"tokenizer_class": "AlbertTokenizer"})
    ids = {"pad_id": 0, "unk_id": 1, "bos_id": -1, "eos_id": -1}
    controls = ["[CLS]", "[SEP]", "[MASK]"]
    sentence_pieces(folder / "spiece.model", control_symbols=controls, **ids)


def xlm_roberta(folder: Path) -> None:
    described(folder, "xlm-roberta", {"tokenizer_class": "XLMRobertaTokenizer"})
    sentence_pieces(folder / "sentencepiece.bpe.model")


def mbart(folder: Path) -> None:
    described(folder, "mbart", {"tokenizer_class": "MBartTokenizer", "src_lang": "de_DE"})
    # Its class in transformers leaves the character map out; a model without one compares.
    sentence_pieces(folder / "sentencepiece.bpe.model", normalization_rule_name="identity")


def llama(folder: Path) -> None:
    config = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False}
    described(folder, "llama", config | {"bos_token": "<s>", "eos_token": "</s>"})
    sentence_pieces(
        folder / "tokenizer.model",
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        vocab_size=900,
    )


def gemma(folder: Path) -> None:
    described(folder, "gemma", {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True})
    sentence_pieces(
        folder / "tokenizer.model",
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_digits=True,
        control_symbols=["<start_of_turn>", "<end_of_turn>", "<mask>"],
        user_defined_symbols=["\n\n", "▁▁▁"],
        vocab_size=900,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        bos_piece="<bos>",
        eos_piece="<eos>",
    )


def marian(folder: Path) -> None:
    library = pytest.importorskip("sentencepiece")
    config = {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"}
    described(folder, "marian", config)
    sentence_pieces(folder / "source.spm")
    sentence_pieces(folder / "target.spm", vocab_size=300)
    vocab: dict[str, int] = {}
    for name in ("source.spm", "target.spm"):
        side = library.SentencePieceProcessor(model_file=str(folder / name))
        pieces = map(side.id_to_piece, range(side.get_piece_size()))
        for piece in pieces:
            if piece != "<s>":
                vocab.setdefault(piece, len(vocab))
    vocab |= {">>fra<<": len(vocab), "<pad>": len(vocab) + 1}
    (folder / "vocab.json").write_text(json.dumps(vocab))


FOLDERS: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (
        bert, bert_cased, bert_odd, mpnet, gpt2, roberta, bart, qwen2, t5, pegasus, albert,
        xlm_roberta, mbart, llama, gemma, marian,
    )
}  # fmt: skip
