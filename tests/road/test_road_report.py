"""A report is written anew in another language, and shows what parts of the data would teach."""

import json
import shutil
from pathlib import Path

import pytest

from tael.road.report import write


@pytest.mark.slow
def test_the_report_is_written_anew_in_chinese_with_both_learning_curves(
    tiny_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    heard: list[str] = []
    told = write(run, lang="zh", learning_curve=True, progress=False, say=heard.append)
    assert told.startswith("测试集上准确率")
    assert heard[0].startswith("learning curve: 2 runs still to train, about 0 minutes")
    found = json.loads((run / "report.json").read_text("utf-8"))
    assert [one["system"] for one in found["learning"]] == ["tfidf", "network"]
    shares = [point["share"] for point in found["learning"][1]["points"]]
    assert shares == [0.25, 0.5, 1.0]
    assert [one["system"] for one in found["robustness"]] == ["torch-fp32"]  # it has no prices
    assert {one["kind"] for one in found["slices"]} >= {"length", "label"}
    assert len(found["questions"]) == 3
    assert "过拟合了吗？" in (run / "report.html").read_text("utf-8")
    whole = (run / "curve" / "50" / "model" / "model.safetensors").stat().st_mtime_ns
    again = write(run, learning_curve=True, progress=False, say=heard.append)
    assert again.endswith(".")  # English, as the recipe says
    assert (run / "curve" / "50" / "model" / "model.safetensors").stat().st_mtime_ns == whole
