"""The house rules over all rooms: imports point left, nothing is a cycle, help is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tael"
ROOMS = [
    "machine", "page", "recipe", "data", "model", "task", "evaluate", "train", "tune",
    "compress", "engine", "price", "serve", "road", "cli",
]  # fmt: skip
FREE = {"errors", "files"}  # left of every room
TOP = {"__init__", "__main__"}  # right of every room: they name what is public
HEAVY = {"torch", "sklearn", "onnxruntime", "matplotlib", "scipy", "fastapi", "onnx", "datasketch"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, *, lazy: bool = True) -> set[str]:
    """Return the tael modules that a file imports, lazily or (lazy=False) at import time only."""
    found = set()
    tree = ast.parse(path.read_text("utf-8"))
    nodes = ast.walk(tree) if lazy else _at_import_time(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
            if node.module != "tael":  # `from tael import files` is an import of files
                found.add(node.module)
    return found


def _at_import_time(tree: ast.AST) -> list[ast.AST]:
    seen: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        seen += [node, *_at_import_time(node)]
    return seen


FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "tael" and len(parts) > 1 else None


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_room_imports_only_from_rooms_to_its_left(path: Path) -> None:
    here = room_of(module_name(path))
    if here is None or here in TOP:
        return
    for module in imports_of(path):
        there = room_of(module)
        if there is None or there in FREE or there == here or there not in ROOMS:
            continue
        assert here not in FREE, f"{path.name} imports {module}, but is left of every room"
        assert ROOMS.index(there) < ROOMS.index(here), f"{here} imports {module} from its right"


def test_every_folder_is_a_room_of_the_drawing() -> None:
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert folders == set(ROOMS)
    drawing = (PACKAGE.parent / "ARCHITECTURE.md").read_text("utf-8")
    assert " → ".join(ROOMS) in " ".join(drawing.split())


def test_no_import_is_a_cycle() -> None:
    known = {module_name(path) for path in FILES}
    graph = {module_name(path): imports_of(path) & known for path in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        if module in done:
            return
        for other in sorted(graph[module]):
            visit(other, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom tael.cli.main import main\n"
        "sys.argv = ['tael', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"heavy = {sorted(HEAVY)!r}\n"
        "print('HEAVY', [name for name in heavy if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith("HEAVY []"), out.stdout[-300:]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_package_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), (
        f"{path} does not say what it is for"
    )
