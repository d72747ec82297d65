"""YAML 1.2 as plain values, with the line of every key and every problem that the text itself has.

The node tree is read, not ruamel's finished objects: it keeps the line of every key, shows all
duplicate keys instead of the first one, and never builds anything but text, numbers, true, false,
null, lists and mappings, whatever tags the file carries.
"""

from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

__all__ = ["KeyPath", "Source", "parse", "parse_value"]

KeyPath = tuple[str, ...]

_MOST_CHARACTERS = 65_536
_MOST_BRACKETS = 500  # ruamel.yaml's scanner takes seconds for 2,000 open ones, and squares them
_MOST_NODES = 10_000  # aliases of aliases can unfold to billions of values
_DEEPEST = 20
_TAG = "tag:yaml.org,2002:"


@dataclass
class Source:
    """What a YAML text holds: plain values, the line of each key, and problems by line."""

    values: Any = None
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)
    nodes: int = 0


def parse(text: str) -> Source:
    """Read one YAML document; whatever is wrong with it stands in `problems`, nothing is raised."""
    source = Source()
    if len(text) > _MOST_CHARACTERS:
        source.problems.append((1, f"has over {_MOST_CHARACTERS:,} characters: not a recipe"))
        return source
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        source.problems.append((1, f"has over {_MOST_BRACKETS} opening brackets: not a recipe"))
        return source
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.composer.warn_double_anchors = False  # YAML allows them: the last one counts
        node = yaml.compose(text)
        source.values = None if node is None else _plain(node, (), source)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        source.problems.append((line, f"not YAML: {error.problem or error.context}"))
    except RecursionError:
        source.problems.append((1, f"nested deeper than {_DEEPEST} levels"))
    except YAMLError as error:  # the reader's, which has no mark: characters that YAML forbids
        source.problems.append((1, f"not YAML: {' '.join(str(error).split())}"))
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError) as error:
        # ruamel.yaml's scanner and composer raise these on some malformed input (0.18, 0.19)
        source.problems.append((1, f"not YAML: {' '.join(str(error).split()) or 'malformed'}"))
    return source


def parse_value(text: str) -> Any:
    """Read the value of an override; what is not YAML by itself is the text as it stands."""
    source = parse(text)
    return text if source.problems else source.values


def _plain(node: Node, path: KeyPath, source: Source) -> Any:
    source.nodes += 1
    if source.nodes > _MOST_NODES or len(path) > _DEEPEST:
        raise YAMLError("too many values or too deeply nested: not a recipe")
    if isinstance(node, ScalarNode):
        return _scalar(node, path, source)
    if isinstance(node, SequenceNode):
        return [_plain(item, (*path, str(at)), source) for at, item in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    return _mapping(node, path, source)


def _mapping(node: MappingNode, path: KeyPath, source: Source) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            source.problems.append((line, "a key must be a single word"))
            continue
        here = (*path, str(key.value))
        if key.value in values:
            first = source.lines.get(here, line)
            source.problems.append(
                (line, f"{'.'.join(here)}: stands twice, first in line {first}; keep one")
            )
        source.lines.setdefault(here, line)
        values[str(key.value)] = _plain(value, here, source)
    return values


def _scalar(node: ScalarNode, path: KeyPath, source: Source) -> Any:
    kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
    try:
        if kind == "int":
            return int(text.replace("_", ""), 0 if text.lstrip("+-")[:2].lower() in _BASES else 10)
        if kind == "float":
            return float(_SPECIAL.get(text.lower(), text.replace("_", "")))
    except ValueError:
        source.problems.append(
            (node.start_mark.line + 1, f"{'.'.join(path)}: {_short(text)} is not a readable number")
        )
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "null":
        return None
    if kind not in ("str", "timestamp"):
        source.problems.append(
            (
                node.start_mark.line + 1,
                f"{'.'.join(path)}: the tag {_short(str(node.tag))} is not read; drop it",
            )
        )
    return text


_BASES = ("0x", "0o", "0b")
_SPECIAL = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
