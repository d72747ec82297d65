"""A manifest is read as it was written, or refused in one line; a changed file is seen."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tael import files
from tael.compress.manifest import MANIFEST, Evidence, Variant, read_variant, write_manifest
from tael.errors import CheckpointError, TaelError, UsageError

NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
EVIDENCE = st.builds(
    Evidence,
    metric=TEXT,
    quality=NUMBER,
    low=NUMBER,
    high=NUMBER,
    p50_ms=NUMBER,
    p95_ms=NUMBER,
    throughput=NUMBER,
    peak_bytes=st.integers(0, 2**62),
    cost_per_1000=NUMBER | st.none(),
    currency=TEXT,
    machine=st.dictionaries(TEXT, TEXT | st.integers(0, 2**40)),
)
VARIANT = st.builds(
    Variant,
    id=TEXT,
    parent=TEXT | st.none(),
    how=TEXT,
    runtime=st.sampled_from(["torch", "onnx", "linear"]),
    precision=st.sampled_from(["fp32", "bf16", "int8"]),
    together=st.integers(1, 99) | st.none(),
    score_bound=NUMBER,
    threads=st.integers(1, 99) | st.none(),
    source=TEXT,
    files=st.dictionaries(TEXT, TEXT),
    bytes=st.integers(0, 2**62),
    notes=st.dictionaries(TEXT, TEXT | st.integers(-9, 2**40)),
    evidence=EVIDENCE | st.none(),
)
SHARED = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A variant of two files, as far as its manifest goes."""
    for name, content in (("model.bin", b"weights" * 99), ("task.json", b"{}")):
        (tmp_path / name).write_bytes(content)
    hashes = {name: files.sha256(tmp_path / name) for name in ("model.bin", "task.json")}
    write_manifest(tmp_path, plain().model_copy(update={"files": hashes}))
    return tmp_path


def plain() -> Variant:
    return Variant(
        id="x",
        parent=None,
        how="",
        runtime="linear",
        precision="fp32",
        source="",
        files={},
        bytes=0,
    )


@SHARED
@given(VARIANT)
def test_what_is_written_is_read_back(tmp_path: Path, variant: Variant) -> None:
    write_manifest(tmp_path, variant)
    assert read_variant(tmp_path) == variant


@SHARED
@given(st.data())
def test_a_changed_byte_or_a_lost_one_is_seen_before_anything_is_opened(
    made: Path, data: Any
) -> None:
    path = made / data.draw(st.sampled_from(["model.bin", "task.json"]))
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    path.write_bytes(whole[:at] + data.draw(st.sampled_from([b"", changed])) + whole[at + 1 :])
    assert read_variant(made)  # looked at only where it is asked for
    with pytest.raises(CheckpointError, match=f"{path.name}: not the file its manifest describes"):
        read_variant(made, verify=True)
    path.write_bytes(whole)
    assert read_variant(made, verify=True)


@pytest.mark.parametrize("name", ["model.bin", "task.json"])
def test_a_file_that_is_gone_or_a_folder_is_seen(made: Path, name: str) -> None:
    (made / name).unlink()
    with pytest.raises(CheckpointError, match=r"delete .* and make it again with `tael price`"):
        read_variant(made, verify=True)
    (made / name).mkdir()
    with pytest.raises(CheckpointError):
        read_variant(made, verify=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("id", None), ("runtime", "tpu"), ("precision", 3), ("files", ["a"]), ("bytes", "many"),
     ("together", "all"), ("evidence", {"metric": "f1"}), ("unknown", 1)],
)  # fmt: skip
def test_a_wrong_field_is_named(made: Path, key: str, value: object) -> None:
    content = json.loads((made / MANIFEST).read_text("utf-8"))
    (made / MANIFEST).write_text(json.dumps(content | {key: value}), "utf-8")
    with pytest.raises(CheckpointError, match=rf"manifest\.json: {key}") as caught:
        read_variant(made)
    assert "\n" not in str(caught.value)


@SHARED
@given(st.binary(max_size=60))
def test_whatever_bytes_a_manifest_has_it_is_read_or_refused(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(TaelError):
        read_variant(tmp_path)


def test_a_folder_without_a_manifest_is_no_variant(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a variant such as RUN/variants/torch-fp32"):
        read_variant(tmp_path)


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (made / MANIFEST).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_manifest(made, plain())
    assert (made / MANIFEST).read_bytes() == before
    assert not list(made.glob(".*part*"))
