"""tael: from raw text to a model that earns its keep.

`tael.run(recipe)` does all of a recipe, `tael.load(path)` opens what can answer; every other verb
is a function in its room. Both are imported when they are first used: `import tael` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tael.engine.load import load
    from tael.road.run import run

    __version__: str

__all__ = ["__version__", "load", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from tael.road.run import run

        return run
    if name == "load":
        from tael.engine.load import load

        return load
    if name == "__version__":
        from importlib.metadata import version

        return version("tael")
    raise AttributeError(f"module 'tael' has no attribute {name!r}")
