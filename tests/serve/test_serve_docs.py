"""Both languages document every refusal, path, meter and limit of the service."""

import re
from pathlib import Path

import pytest

from tael.recipe.schema import Serve
from tael.serve.app import create_app
from tael.serve.monitor import Monitor

ROOT = Path(__file__).parents[2]
PAGES = ["docs/serving.md", "docs/serving.zh-CN.md"]


def refusal_codes() -> set[str]:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tael/serve").glob("*.py"))
    return set(re.findall(r'code="(\w+)"', sources))


def meters() -> set[str]:
    return set(re.findall(r"^# TYPE (\w+)", Monitor().page().decode(), re.M)) - {
        name for name in re.findall(r"^# TYPE (\w+_created)", Monitor().page().decode(), re.M)
    }


@pytest.mark.parametrize("page", PAGES)
def test_every_refusal_path_meter_and_limit_is_documented(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    paths = {route.path for route in create_app(None).routes}  # type: ignore[arg-type, attr-defined]
    limits = {f"serve.{name}" for name in Serve.model_fields}
    assert len(refusal_codes()) > 10
    missing = [word for word in refusal_codes() | paths | meters() | limits if word not in text]
    assert not missing
