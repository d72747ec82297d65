"""Jinja for templates from strangers: sandboxed, and with bounds of time, length and size.

The sandbox keeps a template from the interpreter, not from eating the machine: a few characters
make a terabyte. Here every loop's turn, call, filter and operator looks at the clock, and what
goes in and out of them may not be larger than any conversation.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, wraps
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from tael.errors import DataError

__all__ = ["run_template"]

_LONGEST = 4_000_000  # characters, of a value or of the whole result
_MOST = 200_000  # elements of a value, all levels together
_SECONDS = 5.0  # of processor time
_SOURCE = 500_000  # characters of a template
# A width that pads by ten thousands, in "%9d" and in "{:9}".
_WIDTH = re.compile(r"%[^a-zA-Z%]*(?:\d{5}|\*)|\{[^}]*\d{5}")
# What no chat template needs, and what can make or cost much more than its arguments show.
_METHODS = ("expandtabs", "translate", "format_map")
_NEVER = ("random", "urlize", "wordwrap", "xmlattr", "pprint", "striptags")


def run_template(source: str, variables: Mapping[str, Any]) -> str:
    """Return what a template writes for these variables, which must be plain data.

    Raises DataError where it is no template, raises an exception of its own, reaches for what is
    not its business, or exceeds its bounds.
    """
    if len(source) > _SOURCE:
        raise DataError(f"chat template: {len(source)} characters; at most {_SOURCE} are read.")
    try:
        template = _compiled(source)
        template.environment.begin()  # type: ignore[attr-defined]
        return "".join(template.generate(**variables))
    except SecurityError as error:
        raise DataError(f"chat template: refused, {error}") from error
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"chat template, line {line}" if line else "chat template"
        said = " ".join(str(error.message).split())  # a template may raise a whole page
        raise DataError(f"{where}: {said}") from error
    except RecursionError as error:
        raise DataError("chat template: refused, it calls itself without end") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"chat template: it fails on this conversation: {error}") from error


class _Bounded(ImmutableSandboxedEnvironment):
    """The sandbox with bounds; the clock is each thread's own."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,  # constants are computed under the bounds, not while compiling
            extensions=["jinja2.ext.loopcontrols", _Generation],
            finalize=self._shown,
        )
        self.filters = {
            name: self._watched(use) for name, use in self.filters.items() if name not in _NEVER
        }
        self.filters["tojson"] = self._watched(_to_json)
        self.tests = {name: self._ticked(use) for name, use in self.tests.items()}
        del self.globals["lipsum"]
        self.globals["raise_exception"] = _raise
        self.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._now = threading.local()

    def begin(self) -> None:
        """Start the clock and the count of characters anew."""
        self._now.until = time.thread_time() + _SECONDS
        self._now.written = 0

    def tick(self, written: int = 0) -> None:
        """Raise SecurityError where the template has run or written for too long."""
        self._now.written += written
        if self._now.written > _LONGEST:
            raise SecurityError(f"it writes more than {_LONGEST} characters")
        if time.thread_time() > self._now.until:
            raise SecurityError(f"it runs for more than {_SECONDS:.0f} seconds")

    def weighed(self, value: Any) -> Any:
        """Return a value that is assigned: a tree of shared branches is as large as it looks."""
        self._weigh(value)
        return value

    def joined(self, *parts: Any) -> str:
        """Do what `~` does."""
        return "".join(map(str, parts))

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function or method of a template's, in bounds."""
        if obj == self.tick or obj == self.weighed:  # put in by _Ticking
            return obj(*args)
        method = getattr(obj, "__wrapped__", obj)  # the sandbox wraps str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        self._bound(owner, name, args, kwargs)
        result = super().call(context, obj, *args, **kwargs)
        self._weigh(result)
        return result

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute one of the operators that can make much of little, in bounds."""
        self.tick()
        self._weigh((left, right))
        if operator == "**" and abs(right) > 64:
            raise SecurityError("its numbers grow without end")
        if operator == "*" and not isinstance(left, float) and not isinstance(right, float):
            sizes = [one if isinstance(one, int) else len(one) for one in (left, right)]
            if abs(sizes[0] * sizes[1]) > max(_LONGEST, 2**64 * (left == right == sizes[0])):
                raise SecurityError(f"it makes more than {_LONGEST} characters at once")
        if operator == "%" and isinstance(left, str) and _WIDTH.search(left):
            raise SecurityError("it pads text by more than ten thousand characters")
        return super().call_binop(context, operator, left, right)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Ticking().visit(source), *args, **kwargs)

    def _shown(self, value: Any) -> Any:
        self._weigh(value)
        text = value if isinstance(value, str) else str(value)
        self.tick(len(text))
        return text

    def _watched(self, use: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(use)  # which keeps what Jinja notes on a filter
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._bound(None, use.__name__, args, kwargs)
            result = use(*args, **kwargs)
            self._weigh(result)
            return result

        return watched

    def _ticked(self, use: Any) -> Any:
        @wraps(use)
        def ticked(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            return use(*args, **kwargs)

        return ticked

    def _bound(self, owner: Any, name: str, args: Any, kwargs: Any) -> None:
        """Raise SecurityError where a call could make much of its arguments."""
        self.tick()
        given = (owner, *args, *kwargs.values())
        self._weigh(given)
        if any(type(one) is int and abs(one) > _LONGEST for one in given):
            raise SecurityError(f"{name}() with a number of more than {_LONGEST}")
        if owner is not None and name in _METHODS:
            raise SecurityError(f"{name}() is not for chat templates")
        if "format" in name and any(isinstance(one, str) and _WIDTH.search(one) for one in given):
            raise SecurityError("it pads text by more than ten thousand characters")
        if _made(name, [one for one in given if one is not None]) > _LONGEST:
            raise SecurityError(f"{name}() makes more than {_LONGEST} characters at once")

    def _weigh(self, value: Any) -> None:
        """Raise SecurityError for a value of more characters or elements than any conversation."""
        weight, parts, waiting = 0, 0, [value]
        while waiting:
            one = waiting.pop()
            parts += 1
            if isinstance(one, str):
                weight += len(one)
            elif isinstance(one, range):
                parts += len(one)
            elif isinstance(one, Mapping):
                waiting += [*one.keys(), *one.values()]
            elif isinstance(one, list | tuple | set | frozenset):
                waiting += one
            elif type(one) is int:
                weight += one.bit_length()
            if weight > _LONGEST or parts + len(waiting) > _MOST:
                raise SecurityError(f"it makes a value of {_LONGEST} characters or {_MOST} parts")


class _Ticking(NodeTransformer):
    """Put a look at the clock into every loop and macro, and `~` under the bounds."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._ticking(node)

    visit_Macro = visit_CallBlock = visit_For

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """Turn `a ~ b` into a call, which is watched."""
        self.generic_visit(node)
        join = nodes.EnvironmentAttribute("joined")
        return nodes.Call(join, node.nodes, [], None, None, lineno=node.lineno)

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        """Weigh what is assigned."""
        self.generic_visit(node)
        weigh = nodes.EnvironmentAttribute("weighed")
        node.node = nodes.Call(weigh, [node.node], [], None, None, lineno=node.lineno)
        return node

    def _ticking(self, node: Any) -> nodes.Node:
        literal = sum(
            len(data.data) for part in node.body for data in part.find_all(nodes.TemplateData)
        )
        self.generic_visit(node)
        tick = nodes.EnvironmentAttribute("tick")
        call = nodes.Call(tick, [nodes.Const(literal)], [], None, None, lineno=node.lineno)
        node.body.insert(0, nodes.ExprStmt(call, lineno=node.lineno))
        return node  # type: ignore[no-any-return]


class _Generation(Extension):
    """Read `{% generation %}`, which marks what the assistant wrote, as what it encloses."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return the statements between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _made(name: str, given: list[Any]) -> int:
    """Return how many characters a call can make of short texts by repeating one in another."""
    texts = [one for one in given if isinstance(one, str)]
    if "replace" in name and len(texts) >= 3:
        return (texts[0].count(texts[1]) + 1) * len(texts[2])
    if "indent" in name and texts:
        wide = [
            one if isinstance(one, int) else len(one) for one in given[1:] if one is not texts[0]
        ]
        return (texts[0].count("\n") + 1) * max(wide, default=4)
    if "format" in name and len(texts) > 1:
        return texts[0].count("{") * max(map(len, texts[1:]))
    many = [one for one in given if not isinstance(one, str) and hasattr(one, "__len__")]
    if "sum" in name and len(many) > 1:  # of lists: each step copies all before it
        return max(map(len, many)) ** 2
    if "join" in name and many and texts:
        return max(map(len, many)) * max(map(len, texts))
    return 0


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    return _Bounded().from_string(source)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers does: Jinja's own filter escapes what HTML needs escaped."""
    if isinstance(indent, int) and indent > 16:
        raise SecurityError(f"it indents JSON by {indent}")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> NoReturn:
    raise TemplateError(str(message))
