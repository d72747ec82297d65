"""Whatever a folder says, it opens or is refused in one line: no traceback, no hang, no flood."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from resource import RLIMIT_AS, getpagesize, getrlimit, setrlimit
from time import monotonic
from typing import Any

import pytest
import torch
from family_samples import HEADS, odd_config, theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_model_more_families import CONFIGS, reference
from torch import Tensor

from tael.data.tokenizer import load_tokenizer
from tael.errors import CheckpointError
from tael.model.batch import Batch
from tael.model.families import FAMILIES, find
from tael.model.weights import open_folder

DATA = Path(os.environ.get("TAEL_DATA", Path(__file__).parents[3] / "shared" / "data"))
ROOM = 2 << 30  # bytes that a refusal may take beyond what the process has


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a sound folder of a family, made once."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            if family in CONFIGS:
                kind = next(iter(find(family).architectures))
                reference(made[family], family, kind, 1)
            else:
                theirs(family, next(iter(HEADS[family])), odd_config(family), made[family])
        return made[family]

    return folder


@contextmanager
def bounded() -> Iterator[None]:
    """Let the process grow by so much only: a larger allocation fails."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * getpagesize()
    before = getrlimit(RLIMIT_AS)
    setrlimit(RLIMIT_AS, (now + ROOM, before[1]))
    try:
        yield
    finally:
        setrlimit(RLIMIT_AS, before)


def opens_or_is_refused(folder: Path) -> str | None:
    """Return the refusal, or None where the folder opens and computes."""
    try:
        with bounded():
            network, _ = open_folder(folder)
    except CheckpointError as error:
        message = str(error)
        assert "\n" not in message
        assert message.startswith(str(folder))
        assert len(message) < 3000
        return message
    ids_BT = torch.ones(1, 3, dtype=torch.int64)
    batch = Batch(ids_BT, ids_BT.int(), layout="full")
    both = network.config.stacks == "both"
    network(replace(batch, source=batch) if both else batch)
    return None


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 2, 10_000, 10**9, 2**31, 10**30])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["gelu", "linear", "longrope", "llama3", "sliding_attention", "\n" * 9])
)
ROPE = ("rope_type", "type", "factor", "rope_theta", "short_factor", "full_attention", "x")
JUNK = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(ROPE), inner, max_size=4)
    ),
    max_leaves=8,
)
MORE = [
    "architectures", "model_type", "rope_parameters", "rope_scaling", "rope_theta", "layer_types",
    "sliding_window", "num_hidden_groups", "head_dim", "embedding_size", "tie_word_embeddings",
    "partial_rotary_factor", "decoder_layers", "attn_logit_softcapping", "query_pre_attn_scalar",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_any_config_opens_or_is_refused_in_a_line(
    good: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    folder, sound = tmp_path / "model", good(family)
    shutil.copytree(sound, folder)
    assert opens_or_is_refused(folder) is None
    raw = json.loads((sound / "config.json").read_text())
    keys = st.sampled_from([*raw, *MORE])

    @settings(max_examples=60, deadline=timedelta(seconds=20))
    @given(changes=st.dictionaries(keys, JUNK, min_size=1, max_size=3), gone=st.none() | keys)
    def hold(changes: dict[str, Any], gone: str | None) -> None:
        changed = {key: value for key, value in (raw | changes).items() if key != gone}
        (folder / "config.json").write_text(json.dumps(changed))
        opens_or_is_refused(folder)

    hold()


@pytest.fixture
def saved(tmp_path: Path, good: Callable[[str], Path]) -> Path:
    shutil.copytree(good("bert"), tmp_path / "model")
    return tmp_path / "model"


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header and the tensors of a safetensors file."""
    raw = path.read_bytes()
    body = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:body]), raw[body:]


def put(path: Path, header: Any, body: bytes) -> None:
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + body)


@pytest.mark.slow
def test_any_header_of_weights_opens_or_is_refused_in_a_line(saved: Path) -> None:
    path = saved / "model.safetensors"
    header, body = parts(path)
    entry = st.fixed_dictionaries(
        {}, optional={"dtype": JUNK, "shape": JUNK, "data_offsets": JUNK, "x": JUNK}
    )

    @settings(max_examples=100, deadline=timedelta(seconds=20))
    @given(name=st.sampled_from(list(header)), junk=entry | JUNK, whole=st.booleans())
    def hold(name: str, junk: Any, whole: bool) -> None:
        kept = {} if whole or not isinstance(junk, dict) else header[name]
        changed = {**kept, **junk} if isinstance(junk, dict) else junk
        put(path, header | {name: changed}, body)
        opens_or_is_refused(saved)

    hold()


@pytest.mark.slow
def test_any_damage_to_the_bytes_opens_or_is_refused_in_a_line(saved: Path) -> None:
    path = saved / "model.safetensors"
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")

    @settings(max_examples=100, deadline=timedelta(seconds=20))
    @given(
        at=st.integers(0, start),
        junk=st.binary(min_size=1, max_size=9),
        end=st.none() | st.integers(0, len(whole)),
    )
    def hold(at: int, junk: bytes, end: int | None) -> None:
        path.write_bytes((whole[:at] + junk + whole[at + len(junk) :])[:end])
        opens_or_is_refused(saved)

    hold()


def edit(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def test_a_missing_tensor_is_named_with_the_one_most_like_it(saved: Path) -> None:
    def rename(tensors: dict[str, Tensor]) -> None:
        name = "bert.encoder.layer.0.attention.self.key.weight"
        tensors["bert.encoder.layer.0.attention.self.kye.weight"] = tensors.pop(name)
        tensors["bert.embeddings.LayerNorm.bias"] = torch.zeros(3)

    edit(saved, rename)
    message = opens_or_is_refused(saved)
    assert message is not None
    near = "(the file has bert.encoder.layer.0.attention.self.kye.weight, which is not used)"
    assert f"encoder.layer.0.attention.self.key.weight is missing {near}" in message
    assert "bert.embeddings.LayerNorm.bias is [3], expected [" in message


@pytest.mark.slow
def test_many_strange_names_are_counted_not_compared(
    good: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good("llama"), folder)

    def flood(tensors: dict[str, Tensor]) -> None:
        for name in list(tensors):
            tensors[f"other.{name}"] = tensors.pop(name)
        empty = torch.zeros(0)
        tensors.update({f"strange.{number}.weight": empty for number in range(20_000)})

    edit(folder, flood)
    start = monotonic()
    message = opens_or_is_refused(folder)
    assert message is not None
    assert " more" in message
    assert monotonic() - start < 20  # a comparison of all with all takes minutes


def test_tensors_that_nothing_uses_are_told_and_the_rest_opens(saved: Path) -> None:
    edit(saved, lambda tensors: tensors.update({"lora.weight": torch.ones(2)}))
    _, report = open_folder(saved)
    assert report.unexpected == ("lora.weight",)
    assert any("in the file, not used: lora.weight" in line for line in report.warnings)


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("albert", {"num_hidden_layers": 10**9}, "1,000,000,000 layers, at most 10,000"),
        ("mbart", {"decoder_layers": 9_999}, "layers, "),
        ("t5", {"num_layers": 9_999, "num_decoder_layers": 9_999}, "19,998 layers, "),
        ("modernbert", {"vocab_size": 10**14}, "GiB"),
        ("gemma2", {"max_position_embeddings": "many"}, "max_positions must be a whole number"),
        ("gemma2", {"attn_logit_softcapping": [50]}, "attention_cap must be a number, found [50]"),
        ("gemma2", {"final_logit_softcapping": 0}, "logit_cap must be above 0, found 0"),
        ("gemma3_text", {"attention_bias": "no"}, "qkv_bias must be true or false, found 'no'"),
        ("phi3", {"rope_parameters": {"rope_type": "yarn"}}, "cannot be understood"),
        ("albert", {"inner_group_num": 2}, "inner_group_num 2 is not supported, only 1"),
        ("albert", {"num_hidden_layers": 3, "num_hidden_groups": 2}, "must be divisible by"),
        ("llama", {"hidden_act": "x" * 10_000}, "activation must be one of gelu,"),
        ("modernbert", {"layer_types": ["chunked_attention"] * 3}, "neither full_attention nor"),
        ("modernbert", {"classifier_pooling": "max"}, "pool must be one of first, last, mean"),
        ("modernbert", {"rope_scaling": {"factor": 2}}, "rope_scaling {'factor': 2} is not supp"),
        ("gemma2", {"use_bidirectional_attention": True}, "attention True is not supported"),
        (
            "gemma3_text",
            {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}}},
            "positions of local layers cannot be rescaled",
        ),
        ("bert", {"model_type": "mamba"}, "model_type 'mamba' is not one of: albert, bart"),
    ],
)
def test_absurd_configs_are_refused_at_once(
    good: Callable[[str], Path], tmp_path: Path, family: str, changes: dict[str, Any], words: str
) -> None:
    shutil.copytree(good(family), tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    start = monotonic()
    message = opens_or_is_refused(tmp_path / "model")
    assert message is not None
    assert words in message
    assert monotonic() - start < 5


def test_a_broken_tokenizer_is_refused_in_a_line(saved: Path) -> None:
    broken = DATA / "hostile" / "model" / "tokenizer_broken.json"
    if not broken.is_file():
        pytest.skip(f"{broken} is not here; set TAEL_DATA to the folder of the test data")
    shutil.copyfile(broken, saved / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not a usable tokenizer") as caught:
        load_tokenizer(saved)
    assert "\n" not in str(caught.value)
