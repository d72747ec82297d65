"""Folders that a recipe names: a path, one inside an installed Python package, or on a hub.

Needs nothing but the standard library, and for a hub its client: a check, training and loading all
look here.
"""

from importlib.util import find_spec
from pathlib import Path

from tael.errors import UsageError
from tael.recipe.hub import SCHEME as HUB
from tael.recipe.hub import fetch

__all__ = ["REMOTE", "resolve"]

_SCHEME = "package://"
REMOTE = (_SCHEME, HUB)  # sources that begin so are no paths


def resolve(source: str, *, weights: bool = True) -> Path:
    """Return the folder or file that `source` names: a path, or one of two schemes.

    `package://PYTHON_PACKAGE/FOLDER`: the package is found, not imported. `hub://OWNER/NAME` or
    `hub://OWNER/NAME@REVISION`: fetched if need be; without `weights`, its small files only.
    UsageError where the package is not installed or there is no such folder.
    """
    if source.startswith(HUB):
        return fetch(source, weights=weights)
    if not source.startswith(_SCHEME):
        return Path(source).expanduser()
    package, _, inside = source.removeprefix(_SCHEME).partition("/")
    if not package.isidentifier() or ".." in Path(inside).parts or Path(inside).is_absolute():
        raise UsageError(f"{source}: expected package://PYTHON_PACKAGE/FOLDER")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise UsageError(f"{source}: package {package} is not installed; try `pip install {name}`")
    found = Path(spec.submodule_search_locations[0], inside)
    if not found.exists():
        raise UsageError(f"{source}: package {package} has no folder or file {inside!r}")
    return found
