"""Folders that a recipe names: a path, or a folder inside an installed Python package.

Needs nothing but the standard library: a check, training and loading all look here.
"""

from importlib.util import find_spec
from pathlib import Path

from tael.errors import UsageError

__all__ = ["resolve"]

_SCHEME = "package://"


def resolve(source: str) -> Path:
    """Return the folder that `source` names: a path, or `package://PYTHON_PACKAGE/FOLDER`.

    The package is found, not imported. UsageError where it is not installed or has no such folder.
    """
    if not source.startswith(_SCHEME):
        return Path(source).expanduser()
    package, _, inside = source.removeprefix(_SCHEME).partition("/")
    if not package.isidentifier() or ".." in Path(inside).parts or Path(inside).is_absolute():
        raise UsageError(f"{source}: expected package://PYTHON_PACKAGE/FOLDER")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        name = package.replace("_", "-")
        raise UsageError(f"{source}: package {package} is not installed; try `pip install {name}`")
    folder = Path(spec.submodule_search_locations[0], inside)
    if not folder.is_dir():
        raise UsageError(f"{source}: package {package} has no folder {inside!r}")
    return folder
