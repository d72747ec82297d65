"""`tael generate`, `chat` and `hidden`: what scripts and people see."""

import json
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import torch

from tael.cli import main as cli
from tael.data.tokenizer import save_tokenizer, train_tokenizer
from tael.model.config import ModelConfig
from tael.model.head import VocabHead
from tael.model.network import build
from tael.model.weights import save_folder
from tael.recipe.schema import Tokenizer as Spec

Run = Callable[..., tuple[int, str, str]]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture
def tael(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code, stdout and stderr."""

    def run(*arguments: object, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tael", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random decoder that draws by default."""
    made = tmp_path_factory.mktemp("writer")
    tokenizer = train_tokenizer(
        ["The room was fine. 房间很好", "a nice staff"] * 20, Spec(vocab=1200)
    )
    config = ModelConfig(
        vocab=tokenizer.get_vocab_size(), hidden=16, layers=1, heads=2, ffn=24, stacks="decoder",
        position="rotary", norm="rms", norm_place="pre", final_norm=True, embedding_norm=False,
        types=0, qkv_bias=False, out_bias=False, ffn_bias=False, gated=True, activation="silu",
        vocab_transform=False, vocab_bias=False, pool="last", pool_activation="none",
        class_bias=False, norm_eps=1e-6,
    )  # fmt: skip
    network = build(config, VocabHead(config, "clm"), seed=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(9)
    save_folder(made, network)
    save_tokenizer(tokenizer, made, 128)
    draws = {"eos_token_id": 3, "do_sample": True, "temperature": 1.5}
    (made / "generation_config.json").write_text(json.dumps(draws), "utf-8")
    return made


def test_json_is_one_object_with_text_counts_and_the_end(tael: Run, folder: Path) -> None:
    wish = ("--prompt", "The room", "--max-tokens", 6, "--greedy", "--json")
    code, out, err = tael("generate", folder, *wish)
    told = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert (told["tokens"], told["end"], told["ends"]) == (6, "length", {"length": 1})
    assert told["texts"] == [{"text": told["text"], "end": "length", "tokens": 6}]
    assert told["seconds"] > 0
    assert tael("generate", folder, *wish[:-1])[1] == told["text"] + "\n"
    many = json.loads(tael("generate", folder, *wish, "--logprobs", 2)[1])["texts"][0]
    assert len(many["logprobs"]) == 6
    assert all(len(one["top"]) == 2 for one in many["logprobs"])


def test_without_greedy_the_model_writes_in_its_own_way(tael: Run, folder: Path) -> None:
    def text(*more: object) -> str:
        return tael("generate", folder, "--prompt", "a", "--max-tokens", 12, *more)[1]

    assert text("--greedy") == text("--temperature", 0) != text("--seed", 3) == text("--seed", 3)
    both = text("--seed", 3, "--n", 2)
    assert both.startswith("--- 1 of 2: ")
    assert text("--seed", 3) in both


def test_a_schema_and_a_prompt_come_from_files(tael: Run, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    schema, prompt = tmp_path / "schema.json", tmp_path / "prompt.txt"
    schema.write_text('{"enum": ["yes", "no"]}', "utf-8")
    prompt.write_text("房间", "utf-8")
    out = tael("generate", folder, "--prompt-file", prompt, "--schema", schema, "--json")[1]
    told = json.loads(out)
    assert json.loads(told["text"]) in ("yes", "no")
    assert told["texts"][0]["complete"] is True
    out = tael("generate", folder, "--prompt-file", "-", "--regex", "[ab]{3}", typed="x")[1]
    assert set(out.strip()) <= {"a", "b"}
    prompt.write_bytes(b"ab\xff")
    code, _, err = tael("generate", folder, "--prompt-file", prompt)
    assert (code, err) == (1, f"{prompt}: not UTF-8 at byte 2; convert it\n")


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ((), "give one prompt: --prompt TEXT or --prompt-file FILE"),
        (("--prompt", "a", "--prompt-file", "b"), "give one prompt"),
        (("--prompt", "a", "--greedy", "--temperature", 1), "exclude each other"),
        (("--prompt", "a", "--top-p", 2), "top_p must be above 0 and at most 1, found 2.0"),
        (("--prompt", "a", "--bits", 3), "--bits must be 4 or 8, found 3"),
    ],
)
def test_a_wrong_option_is_told_in_one_line(
    tael: Run, folder: Path, wish: tuple[object, ...], words: str
) -> None:
    code, out, err = tael("generate", folder, *wish)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_conversation_comes_through_a_pipe(tael: Run, folder: Path) -> None:
    wish = ("--greedy", "--max-tokens", 5)
    code, _, err = tael("chat", folder, *wish, typed="The room\n")
    assert code == 2
    assert "no chat template" in err
    template = folder / "chat_template.jinja"
    template.write_text(TEMPLATE, "utf-8")
    try:
        code, out, _ = tael("chat", folder, *wish, typed="The room\n\n房间\n")
        alone = tael("chat", folder, *wish, typed="The room\n")[1]
    finally:
        template.unlink()
    assert code == 0
    assert out.startswith(alone)
    assert len(out) > len(alone) > 1


def test_hidden_says_what_it_wrote(tael: Run, folder: Path, tmp_path: Path) -> None:
    texts, target = tmp_path / "texts.jsonl", tmp_path / "states.npy"
    texts.write_text('{"review": "a nice room"}\n{"review": "房间"}\n', "utf-8")
    wish = ("--in", texts, "--out", target, "--layer", 1, "--column", "review")
    code, out, err = tael("hidden", folder, *wish, "--pool", "last")
    assert (code, err) == (0, "")
    assert out.startswith("texts: 2, tokens: ")
    assert out.endswith(f"→ {target}\n")
    assert tael("hidden", folder, *wish, "--quiet") == (0, "", "")
