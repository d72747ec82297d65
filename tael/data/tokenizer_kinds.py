"""What the kinds of tokenizers are: their special tokens, how they wrap a text, how they cut it.

A folder without `tokenizer.json` leaves much unsaid that the class of its tokenizer stands for.
Here each class is a row. The patterns that cut text before byte-level merges are those of the
models' own `tokenizer.json`, under the names that GGUF files give them (llama.cpp,
`src/llama-vocab.cpp`).
"""

from dataclasses import dataclass, field
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers, processors

from tael.errors import CheckpointError

__all__ = ["KINDS", "LANGUAGES", "Kind", "cutter", "find_kind", "wrap"]


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of tokenizers: `single` and `pair` wrap texts A and B in the tokens of roles."""

    roles: dict[str, str]
    single: str = "A"
    pair: str = "A B"
    cut: str = "gpt-2"  # the pre-tokeniser of byte-level kinds
    nfc: bool = False
    languages: tuple[str, ...] = field(default=(), repr=False)


_BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_FAIRSEQ = {
    "bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>",
    "pad": "<pad>", "cls": "<s>", "mask": "<mask>",
}  # fmt: skip
_T5 = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
_END = "<|endoftext|>"
_MBART = [
    "ar_AR",
    "cs_CZ",
    "de_DE",
    "en_XX",
    "es_XX",
    "et_EE",
    "fi_FI",
    "fr_XX",
    "gu_IN",
    "hi_IN",
    "it_IT",
    "ja_XX",
    "kk_KZ",
    "ko_KR",
    "lt_LT",
    "lv_LV",
    "my_MM",
    "ne_NP",
    "nl_XX",
    "ro_RO",
    "ru_RU",
    "si_LK",
    "tr_TR",
    "vi_VN",
    "zh_CN",
]
_MBART50 = [
    "af_ZA",
    "az_AZ",
    "bn_IN",
    "fa_IR",
    "he_IL",
    "hr_HR",
    "id_ID",
    "ka_GE",
    "km_KH",
    "mk_MK",
    "ml_IN",
    "mn_MN",
    "mr_IN",
    "pl_PL",
    "ps_AF",
    "pt_XX",
    "sv_SE",
    "sw_KE",
    "ta_IN",
    "te_IN",
    "th_TH",
    "tl_XX",
    "uk_UA",
    "ur_PK",
    "xh_ZA",
    "gl_ES",
    "sl_SI",
]
LANGUAGES = {"mbart": tuple(_MBART), "mbart50": (*_MBART, *_MBART50)}

KINDS = {
    "bert": Kind(_BERT, "cls A sep", "cls A sep B:1 sep:1"),
    "mpnet": Kind({**_FAIRSEQ, "unk": "[UNK]"}, "cls A sep", "cls A sep sep B sep"),
    "gpt2": Kind({"bos": _END, "eos": _END, "unk": _END}),
    "roberta": Kind(_FAIRSEQ, "cls A sep", "cls A sep sep B sep"),
    "qwen2": Kind({"eos": _END, "pad": _END, "unk": _END}, cut="qwen2", nfc=True),
    "t5": Kind(_T5, "A eos", "A eos B eos"),
    "albert": Kind(
        {**_BERT, "unk": "<unk>", "pad": "<pad>", "bos": "[CLS]", "eos": "[SEP]"},
        "cls A sep",
        "cls A sep B:1 sep:1",
    ),
    "xlm-roberta": Kind(_FAIRSEQ, "cls A sep", "cls A sep sep B sep"),
    "mbart": Kind(_FAIRSEQ, "A eos lang", "A B eos lang", languages=LANGUAGES["mbart"]),
    "mbart50": Kind(_FAIRSEQ, "lang A eos", "lang A B eos", languages=LANGUAGES["mbart50"]),
    "pegasus": Kind({**_T5, "mask": "<mask_2>"}, "A eos", "A B eos"),
    "marian": Kind(_T5, "A eos", "A B eos"),
    "llama": Kind({"bos": "<s>", "eos": "</s>", "unk": "<unk>"}, "bos A", "bos A bos:1 B:1"),
    "gemma": Kind(
        {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"},
        "bos A",
        "bos A bos:1 B:1",
    ),
}  # fmt: skip
_SAME = {
    "distilbert": "bert", "electra": "bert", "mobilebert": "bert",
    "convbert": "bert", "layoutlm": "bert",
    "openaigpt2": "gpt2", "gptneo": "gpt2", "gptneox": "gpt2", "opt": "gpt2",
    "bart": "roberta", "longformer": "roberta", "led": "roberta", "blenderbot": "roberta",
    "xlmroberta": "xlm-roberta", "xlmrobertaxl": "xlm-roberta", "qwen": "qwen2", "qwen3": "qwen2",
    "qwen2.5": "qwen2", "mt5": "t5", "umt5": "t5", "longt5": "t5", "bigbirdpegasus": "pegasus",
    "mistral": "llama", "mixtral": "llama", "codellama": "llama", "phi3": "llama",
    "gemma2": "gemma", "gemma3": "gemma", "gemma3text": "gemma",
}  # fmt: skip

_CONTRACTION = "'s|'t|'re|'ve|'m|'ll|'d"
_GPT2 = rf"{_CONTRACTION}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = rf"(?i:{_CONTRACTION})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"
_SLASH = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_DEEPSEEK_3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS: dict[str, tuple[str, ...]] = {
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"),
    "llama-bpe": (rf"{_WORDS}|\p{{N}}{{1,3}}{_TAIL}",),
    "qwen2": (rf"{_WORDS}|\p{{N}}{_TAIL}",),
    "qwen35": (
        rf"(?i:{_CONTRACTION})|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}"),
    "deepseek-v3": (r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK_3),
    "tekken": (rf"{_LEAD}{_UPPER}*{_LOWER}+|{_LEAD}{_UPPER}+{_LOWER}*|\p{{N}}{_SLASH}",),
    "gpt-4o": (
        rf"{_LEAD}{_UPPER}*{_LOWER}+(?i:{_CONTRACTION})?"
        rf"|{_LEAD}{_UPPER}+{_LOWER}*(?i:{_CONTRACTION})?|\p{{N}}{{1,3}}{_SLASH}",
    ),
}
_ALSO = {
    "gpt-2": "phi-2 mpt olmo jais trillion granite-docling jina-es jina-de jina-v2-es jina-v2-de",
    "smollm": "starcoder refact command-r codeshell exaone minerva-7b",
    "llama-bpe": "llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 dbrx smaug-bpe "
    "chatglm-bpe",
    "qwen2": "stablelm2 deepseek-r1-qwen hunyuan megrez kormo",
    "gpt-4o": "llama4 kanana2 minimax-m2",
}
_CUTS = {name: name for name in _PATTERNS} | {
    other: name for name, others in _ALSO.items() for other in others.split()
}


def find_kind(*names: object) -> str | None:
    """Return the first kind that a tokenizer's class or a model's type stands for, if any."""
    for name in names:
        plain = str(name or "").removesuffix("Fast").removesuffix("Tokenizer")
        plain = plain.lower().replace("-", "").replace("_", "")
        found = _SAME.get(plain, "xlm-roberta" if plain == "xlmroberta" else plain)
        if found in KINDS:
            return found
    return None


def cutter(name: str, where: object, space: bool = False) -> Any:
    """Return the pre-tokeniser of a byte-level model; `space` puts one before the text.

    Raises CheckpointError for a name that is not known: a guess would cut some texts wrongly.
    """
    if name not in _CUTS:
        known = ", ".join(sorted(_CUTS))
        raise CheckpointError(f"{where}: pre-tokeniser {name!r} is not known; known are {known}.")
    patterns = _PATTERNS[_CUTS[name]]
    if patterns == (_GPT2,):
        return pre_tokenizers.ByteLevel(add_prefix_space=space)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False)]
    )


def wrap(tokenizer: Tokenizer, single: str, pair: str, tokens: dict[str, str]) -> None:
    """Make encoding put the tokens of roles around texts: "cls A sep", "cls A sep B:1 sep:1"."""
    used = {word.partition(":")[0] for word in f"{single} {pair}".split()} - {"A", "B"}
    ids = {tokens[role]: tokenizer.token_to_id(tokens[role]) for role in sorted(used)}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=_template(single, tokens),
        pair=_template(pair, tokens),
        special_tokens=list(ids.items()),
    )


def _template(words: str, tokens: dict[str, str]) -> list[str]:
    parts = [word.partition(":") for word in words.split()]
    return [
        f"{'$' + role if role in ('A', 'B') else tokens[role]}:{type_ or 0}"
        for role, _, type_ in parts
    ]
