"""Folders on the Hugging Face hub: `hub://OWNER/NAME@REVISION`, fetched once.

They lie in the user's own cache, where other tools find them too; what is there is taken without a
network, so that a name means the same folder until the cache is emptied. Only safetensors, JSON and
tokenizer files are fetched: no pickle and no code.
"""

import logging
import re
from pathlib import Path
from typing import Any

from tael.errors import UsageError

__all__ = ["SCHEME", "fetch"]

SCHEME = "hub://"
_SOURCE = re.compile(r"hub://(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+(/[\w.-]+)*))?")
_WORDS = ("*.json", "*.txt", "*.model", "*.spm", "*.jinja")
# Not every *.safetensors: some hold the same weights again under another name or in another type.
_WEIGHTS = (
    "model.safetensors", "model-?????-of-?????.safetensors", "[0-9]_*/model.safetensors",
)  # fmt: skip

_log = logging.getLogger(__name__)


def fetch(source: str, *, weights: bool = True) -> Path:
    """Return the folder of `source` in the user's cache, after fetching what is not there.

    `weights` False fetches the small files only. The user's own login is used, where there is one
    (`hf auth login`). UsageError where the hub, the model, the revision or the extra is missing.
    """
    found = _SOURCE.fullmatch(source)
    if found is None or ".." in source:
        raise UsageError(f"{source}: expected hub://OWNER/NAME or hub://OWNER/NAME@REVISION")
    try:
        import huggingface_hub
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise UsageError(f"{source}: needs huggingface_hub: `pip install tael[hub]`") from error
    wanted: dict[str, Any] = {
        "repo_id": found["name"],
        "revision": found["revision"],
        "allow_patterns": [*_WORDS, *(_WEIGHTS if weights else ())],
    }
    try:
        folder = Path(huggingface_hub.snapshot_download(**wanted, local_files_only=True))
    except LocalEntryNotFoundError:
        folder = _online(source, wanted)
    else:
        if not _whole(folder, weights=weights):  # only its small files were fetched before
            folder = _online(source, wanted)
    if not _whole(folder, weights=weights):
        lacks = "model.safetensors" if (folder / "config.json").is_file() else "config.json"
        raise UsageError(
            f"{source}: has no {lacks}; pickled weights are refused, so look for a revision with "
            f"safetensors at https://huggingface.co/{found['name']}"
        )
    _log.info("%s: %s", source, folder)
    return folder


def _whole(folder: Path, *, weights: bool) -> bool:
    if not (folder / "config.json").is_file():
        return False
    return not weights or any(folder.glob("*.safetensors"))


def _online(source: str, wanted: dict[str, Any]) -> Path:
    """Fetch; UsageError says in a line why that cannot be."""
    import huggingface_hub
    from huggingface_hub import errors

    name, page = wanted["repo_id"], f"https://huggingface.co/{wanted['repo_id']}"
    try:
        return Path(huggingface_hub.snapshot_download(**wanted))
    except errors.GatedRepoError as error:
        why = f"its owner must let you in: ask at {page}, then `hf auth login`"
        raise UsageError(f"{source}: {why}") from error
    except errors.RepositoryNotFoundError as error:
        why = f"the hub has no model {name}, or it is private: check {page}, or `hf auth login`"
        raise UsageError(f"{source}: {why}") from error
    except errors.RevisionNotFoundError as error:
        why = f"no revision {wanted['revision']!r}: a branch, tag or commit of {page}"
        raise UsageError(f"{source}: {why}") from error
    except errors.LocalEntryNotFoundError as error:
        why = "not in the cache, and the hub cannot be reached: try again with a network"
        raise UsageError(f"{source}: {why}") from error
    # HTTPError is the base of its HTTP library's errors; which library that is, has changed twice.
    except (errors.HTTPError, OSError, ValueError) as error:  # type: ignore[attr-defined]
        first = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(f"{source}: cannot be fetched: {first}") from error
