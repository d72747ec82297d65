"""`hub://` names a folder in the user's cache, fetched once, or says in a line why it cannot be."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tael.errors import UsageError
from tael.recipe.load import load_recipe
from tael.recipe.package import resolve

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
errors = pytest.importorskip("huggingface_hub.errors")

SOURCE = "hub://owner/name"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SMALL = {"config.json": "{}", "tokenizer.json": "{}"}
ALL = {**SMALL, "model.safetensors": "x", "pytorch_model.bin": "run me", "modeling.py": "run me"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that nobody reaches."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def unreachable(*_: Any, **__: Any) -> None:
        raise errors.OfflineModeIsEnabled("no network in tests")

    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_tree", unreachable)
    return tmp_path / "cache"


def fill(cache: Path, files: dict[str, str], revision: str = "main") -> Path:
    """Lay a snapshot out as the hub's client does."""
    home = cache / "models--owner--name"
    folder = home / "snapshots" / COMMIT
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (home / "refs").mkdir(parents=True, exist_ok=True)
    (home / "refs" / revision).write_text(COMMIT)
    return folder


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hub that has all files, and keeps what it was asked for."""
    from fnmatch import fnmatch

    real, asked = huggingface_hub.snapshot_download, list[dict[str, Any]]()

    def download(**wanted: Any) -> str:
        if wanted.get("local_files_only"):
            return real(**wanted)  # type: ignore[no-any-return]
        asked.append(wanted)
        patterns = wanted["allow_patterns"]
        allowed = {n: t for n, t in ALL.items() if any(fnmatch(n, one) for one in patterns)}
        return str(fill(cache, allowed, wanted["revision"] or "main"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return asked


def refusal(source: str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(source, **options)
    message = str(caught.value)
    assert message.startswith(source)
    assert "\n" not in message
    return message


def test_a_cached_folder_is_taken_without_a_network(cache: Path) -> None:
    folder = fill(cache, ALL)
    assert resolve(SOURCE) == folder
    assert resolve(f"{SOURCE}@{COMMIT}") == folder
    fill(cache, ALL, "v1.0")
    assert resolve(f"{SOURCE}@v1.0") == folder


def test_what_is_not_cached_is_fetched_once_and_never_a_pickle_or_code(
    hub: list[dict[str, Any]],
) -> None:
    folder = resolve(f"{SOURCE}@refs-pr-1")
    assert {path.name for path in folder.iterdir()} == {*SMALL, "model.safetensors"}
    assert (hub[0]["repo_id"], hub[0]["revision"]) == ("owner/name", "refs-pr-1")
    assert "token" not in hub[0]  # the client takes the user's own login, if there is one
    assert resolve(f"{SOURCE}@refs-pr-1") == folder
    assert len(hub) == 1


def test_a_check_fetches_no_weights_and_loading_fetches_them_later(
    hub: list[dict[str, Any]],
) -> None:
    folder = resolve(SOURCE, weights=False)
    assert {path.name for path in folder.iterdir()} == set(SMALL)
    assert (resolve(SOURCE) / "model.safetensors").is_file()
    resolve(SOURCE, weights=False)
    assert len(hub) == 2


def test_weights_are_asked_for_once_not_in_every_form(hub: list[dict[str, Any]]) -> None:
    from fnmatch import fnmatch

    resolve(SOURCE)
    files = (
        "model.safetensors", "model-00001-of-00002.safetensors", "2_Dense/model.safetensors",
        "consolidated.safetensors", "model.fp16.safetensors", "original/model.safetensors",
    )  # fmt: skip
    taken = [f for f in files if any(fnmatch(f, one) for one in hub[0]["allow_patterns"])]
    assert taken == list(files[:3])


@pytest.mark.parametrize(
    "source",
    ["hub://", "hub://name", "hub://a/b/c", "hub://a/b@", "hub://../b", "hub://a/b@../c",
     "hub://a/b@v 1", "hub://a/b?token=x", "hub://user:secret@host/name"],
)  # fmt: skip
def test_a_name_of_another_form_is_refused(source: str) -> None:
    assert "expected hub://OWNER/NAME" in refusal(source)


def test_an_unreachable_hub_is_said(cache: Path) -> None:
    assert "not in the cache, and the hub cannot be reached" in refusal(SOURCE)
    fill(cache, ALL)
    assert "cannot be reached" in refusal(f"{SOURCE}@other")


def failing(kind: str) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        import httpx2

        ask = httpx2.Request("GET", "https://huggingface.co/api/models/owner/name")
        response = httpx2.Response(401, request=ask)
        if kind == "proxy":
            raise httpx2.ProxyError("the proxy\nsays no")
        raise getattr(errors, kind)("401 Client Error.\n\nAsk somebody.", response=response)

    return fail


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("GatedRepoError", "its owner must let you in: ask at https://huggingface.co/owner/name"),
        ("RepositoryNotFoundError", "no model owner/name, or it is private"),
        ("RevisionNotFoundError", "no revision None: a branch, tag or commit"),
        ("proxy", "cannot be fetched: ProxyError: the proxy"),
    ],
)
def test_what_the_hub_refuses_is_said_in_a_line(
    kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", failing(kind))
    assert words in refusal(SOURCE)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": "{}", "pytorch_model.bin": "run me"}, "has no model.safetensors; pickled"),
        ({"model.safetensors": "x"}, "has no config.json"),
    ],
)
def test_a_model_of_pickles_only_is_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], words: str
) -> None:
    folder = fill(cache, files)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **_: str(folder))
    assert words in refusal(SOURCE)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install tael[hub]" in refusal(SOURCE)


def test_a_recipe_keeps_the_name_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n")
    recipe = {
        "name": "a",
        "data": {"train": "a.csv"},
        "model": {"from": f"{SOURCE}@v1.0"},
        "task": "classify",
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert load_recipe(tmp_path / "r.yaml").model.from_ == f"{SOURCE}@v1.0"
