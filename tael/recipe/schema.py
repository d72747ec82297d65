"""Every field a recipe may have: its type, range, default and meaning, once.

The recipe is the only configuration. All sections are frozen and refuse unknown keys; reading a
file, overrides, presets and messages with line numbers are `load.py`'s work.
"""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tael.page.words import Lang
from tael.recipe.section import Section
from tael.recipe.stages import Freeze, Lora, Paths, Pretrain, Stage, Train, as_list
from tael.recipe.task_sections import Chat, Embed, Qa, Seq2Seq

__all__ = [
    "Chat",
    "Clean",
    "Columns",
    "Compress",
    "Data",
    "Embed",
    "Freeze",
    "Kind",
    "Lora",
    "Machine",
    "Model",
    "Pretrain",
    "Price",
    "Qa",
    "Recipe",
    "Section",
    "Seq2Seq",
    "Serve",
    "Stage",
    "Tokenizer",
    "Train",
]


# ISO 639 codes.
Languages = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[a-z]{2,3}$")], ...], BeforeValidator(as_list)
]
Kind = Literal["single", "multi", "regression"]  # of label


class Columns(Section):
    """Which column of the data holds which role."""

    text: str = Field("text", description="Column that holds the text.")
    text_pair: str | None = Field(None, description="Column with a second text; none by default.")
    label: str = Field("label", description="Column that holds the label (or the number).")
    tokens: str = Field("tokens", description="tag: column with the list of tokens.")
    tags: str = Field("tags", description="tag: column with one tag a token.")
    spans: str | None = Field(
        None,
        description="tag: column with the spans of `text`, in the place of tokens and tags: a list "
        "of {type, start, end}, or {type: {words: [[first, last], …]}} as CLUENER has it.",
    )
    context: str = Field("context", description="qa: column with the text that has the answer.")
    question: str = Field("question", description="qa: column with the question.")
    answers: str = Field("answers", description="qa: column with the list of answers.")
    source: str = Field("source", description="seq2seq: column with the text that is read.")
    target: str = Field("target", description="seq2seq: column with the text that is written.")
    messages: str = Field("messages", description="chat: column with the list of messages.")
    score: str = Field("score", description="embed: column with how alike the two texts are.")
    negative: str | None = Field(
        None,
        description="embed: column with a third text, further from the first than text_pair; or, "
        "where label is 2, nearer to it.",
    )


class Clean(Section):
    """Which repairs are made to every text before anything else sees it."""

    unicode: bool = Field(True, description="Repair mojibake and broken Unicode (ftfy), NFC.")
    controls: bool = Field(True, description="Remove control characters; keep newline and tab.")
    whitespace: bool = Field(True, description="Trim, and squeeze runs of white space.")
    html: bool = Field(
        False, description="Remove HTML tags, comments and scripts, and resolve entities."
    )
    width: Literal["keep", "fold", "nfkc"] = Field(
        "keep",
        description="fold: full-width letters, digits and signs become half-width (，→ ,); nfkc: "
        "ligatures, circled digits and the like are resolved too.",
    )
    personal: Literal["keep", "mask"] = Field(
        "keep",
        description="mask: e-mail and IPv4 addresses, telephone numbers, Chinese identity numbers, "
        "bank cards and IBANs become [EMAIL], [IP], [PHONE], [ID], [CARD], [IBAN]; also in served "
        "texts.",
    )
    min_characters: int = Field(1, ge=1, description="Shorter texts are dropped and counted.")
    max_characters: int | None = Field(
        None, ge=1, description="Longer texts are dropped and counted; no limit by default."
    )
    languages: Languages | None = Field(
        None,
        description="Texts that are clearly in another language are dropped and counted; needs "
        "tael[text].",
    )
    dedup: Literal["near", "exact", "off"] = Field(
        "near", description="Duplicates removed before splitting: near includes exact."
    )
    near_threshold: float = Field(
        0.8,
        gt=0.5,
        le=1,
        description="Jaccard similarity from which two texts are near duplicates.",
    )
    conflicts: Literal["drop", "keep", "fail"] = Field(
        "drop", description="What happens to a text that stands with different labels."
    )


class Data(Section):
    """Where the records are and how they become train, dev and test."""

    train: Paths = Field(
        description="Training files, folders or patterns: csv, tsv, jsonl, json, txt, conll, "
        "parquet, Arrow; also .gz, .zst, .zip."
    )
    dev: Paths | None = Field(None, description="Dev file; without one it is split off train.")
    test: Paths | None = Field(None, description="Test file; without one it is split off train.")
    split: tuple[float, float, float] = Field(
        (0.8, 0.1, 0.1), description="Shares of train, dev, test where files do not give them."
    )
    group: str | None = Field(
        None,
        description="Column (a customer, a document) whose rows stay together in one split; "
        "membership by its value alone, so adding rows moves none.",
    )
    time: str | None = Field(
        None,
        description="Column with an ISO date or a number: the oldest rows are train, the newest "
        "test. Adding rows can move old ones.",
    )
    order: bool = Field(
        False,
        description="Split by the order of the files: the first characters are train, the last "
        "test. A text at a border is cut there.",
    )
    max_leak: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Largest share of the dev and test rows that may have a (near) copy in train; "
        "more stops the run.",
    )
    fixes: Path | None = Field(
        None,
        description="CSV with columns place and label: labels to correct, or `drop`; the form of "
        "suspects.csv.",
    )
    columns: Columns = Field(Columns(), description="Roles of the columns.")
    labels: Kind = Field(
        "single", description="One label a text, several separated by `|`, or a number."
    )
    encoding: str = Field(
        "auto", description="auto (UTF-8, UTF-16 or GB18030, found and said), or a codec."
    )
    txt: Literal["line", "block", "file"] = Field(
        "line",
        description="A record of a .txt file: a line, the lines up to a blank one, or all of it.",
    )
    on_error: Literal["fail", "skip"] = Field(
        "fail", description="A malformed row stops the run, or is skipped and counted."
    )
    clean: Clean = Field(Clean(), description="Repairs and duplicates.")
    max_tokens: int = Field(
        128, ge=8, le=8192, description="Longer texts are cut to this many tokens, counted."
    )
    max_cut: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Largest share of train's tokens that may be cut off; more stops the run.",
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if min(self.split) < 0 or abs(sum(self.split) - 1) > 1e-6 or self.split[0] == 0:
            raise ValueError(
                f"split {list(self.split)} must be shares of train, dev, test that sum to 1"
            )
        return self

    @model_validator(mode="after")
    def _one_way_to_split(self) -> Self:
        ways = {"group": self.group is not None, "time": self.time is not None, "order": self.order}
        given = [name for name, is_given in ways.items() if is_given]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: keep one")
        return self


class Tokenizer(Section):
    """How text becomes ids; not used where `model.from` brings a tokenizer."""

    kind: Literal["unigram", "wordpiece", "bpe", "bytes", "character"] = Field(
        "unigram",
        description="Subword model; unigram makes common Chinese words one unit; bytes keeps every "
        "character and line end as it is, for models that write; character: each by itself.",
    )
    vocab: int = Field(
        8000, ge=100, le=500_000, description="Number of units, special ones included."
    )


class Model(Section):
    """The Transformer: a preset, or a checkpoint to start from."""

    architecture: Literal["encoder", "decoder", "encoder-decoder"] = Field(
        "encoder",
        description="encoder reads (BERT's kind), decoder writes on (Llama's), encoder-decoder "
        "reads one text and writes another (T5's). Where it is not given: as the task wants it.",
    )
    preset: Literal["tiny", "small", "medium", "base"] = Field(
        "small", description="Sizes to start from; single sizes below override it."
    )
    from_: str | None = Field(
        None,
        alias="from",
        description="Folder in Hugging Face layout, package://PYTHON_PACKAGE/FOLDER, or "
        "hub://OWNER/NAME@REVISION (extra hub).",
    )
    hidden: int = Field(256, ge=8, description="Width of the hidden state.")
    layers: int = Field(4, ge=1, description="Number of blocks.")
    heads: int = Field(4, ge=1, description="Attention heads; must divide hidden.")
    ffn: int = Field(1024, ge=8, description="Width inside the feed-forward layer.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Dropout on hidden states and attention.")
    droppath: float = Field(
        0.0, ge=0, lt=1, description="Chance that a block is skipped (DropPath)."
    )

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden ({self.hidden}) must be divisible by heads ({self.heads})")
        return self


class Compress(Section):
    """Which variants are made of the trained model."""

    variants: tuple[
        Literal["torch-fp32", "torch-bf16", "onnx-fp32", "onnx-int8", "linear-student", "tfidf"],
        ...,
    ] = Field(
        ("torch-fp32", "torch-bf16", "onnx-fp32", "onnx-int8", "linear-student", "tfidf"),
        description="Variants to make and to price; torch-fp32, the parent, and tfidf, the "
        "sceptic's baseline, are always among them.",
    )


class Price(Section):
    """What the cheapest variant must keep."""

    floor: str | None = Field(
        None,
        description="Quality floor: METRIC >= 0.98 * base, or METRIC >= 0.9. Default: the task's "
        "first metric at 0.98 * base.",
    )
    p95_ms: float | None = Field(None, gt=0, description="Slowest allowed 95th percentile, in ms.")
    utilisation: float = Field(
        0.5, gt=0, le=1, description="Share of the sustained rate that the service really carries."
    )
    traffic: Path | None = Field(
        None, description="File with texts of the service's length mix; default: the test split."
    )


class Machine(Section):
    """What this machine costs."""

    price_per_hour: Decimal = Field(Decimal("0.10"), ge=0, description="Price of one machine hour.")
    currency: str = Field(
        "USD", min_length=1, max_length=8, description="Its currency, as printed."
    )
    threads: int | None = Field(
        None, ge=1, description="Threads for arithmetic; default: the cores this process may use."
    )
    watts: float | None = Field(
        None,
        gt=0,
        description="Power it takes at work; default: its own counters (RAPL), else 10 W a thread.",
    )


class Serve(Section):
    """How the service admits, batches and bills requests."""

    price_per_1000: Decimal = Field(
        Decimal("0.10"), ge=0, description="What a customer pays for 1,000 answered texts."
    )
    max_queue: int = Field(256, ge=1, description="Waiting texts from which the answer is 429.")
    max_batch: int = Field(32, ge=1, description="Most texts computed at once.")
    max_characters: int = Field(20_000, ge=1, description="Longest text that is accepted.")
    max_texts: int = Field(256, ge=1, description="Most texts in one request.")


class Recipe(Section):
    """Everything that decides a run."""

    name: str = Field(min_length=1, pattern=r"^[\w.-]+$", description="Name of the run.")
    task: str = Field(description="What to learn: a file's name in tael/task.")
    seed: int = Field(13, ge=0, description="Seed of every random choice.")
    lang: Lang = Field("en", description="Language of the reports and of the model card.")
    data: Data = Field(description="Records and splits.")
    tokenizer: Tokenizer = Field(Tokenizer(), description="Subword units.")
    model: Model = Field(Model(), description="The Transformer.")
    pretrain: Pretrain = Field(Pretrain(), description="Learning from text without labels.")
    train: Train = Field(Train(), description="Learning from labelled records.")
    embed: Embed = Field(Embed(), description="Vectors of texts.")
    qa: Qa = Field(Qa(), description="Answers from texts.")
    chat: Chat = Field(Chat(), description="Answers in conversations.")
    seq2seq: Seq2Seq = Field(Seq2Seq(), description="Texts from texts.")
    compress: Compress = Field(Compress(), description="Variants to make.")
    price: Price = Field(Price(), description="Floor and traffic.")
    machine: Machine = Field(Machine(), description="Tariff and threads.")
    serve: Serve = Field(Serve(), description="The service.")

    @model_validator(mode="after")
    def _pieces_can_be_learned(self) -> Self:
        if self.train.parallel != "fsdp":
            return self
        for name, stage in (("pretrain", self.pretrain), ("train", self.train)):
            if stage.optimizer in ("adafactor", "muon"):
                raise ValueError(
                    f"train.parallel: fsdp cuts every matrix into pieces, and {name}.optimizer="
                    f"{stage.optimizer} needs it whole; take adamw, or train.parallel=ddp"
                )
        if self.train.adversary or self.train.l1 or self.train.l2 or self.train.lora.rank:
            raise ValueError(
                "train.parallel: fsdp goes with none of train.adversary, l1, l2 and lora; "
                "take train.parallel=ddp"
            )
        return self

    @model_validator(mode="after")
    def _adapters_have_weights(self) -> Self:
        if self.train.lora.rank and self.model.from_ is None and not self.pretrain.steps:
            raise ValueError(
                "train.lora stands beside weights that learned before: set model.from, or "
                "pretrain.steps"
            )
        return self
