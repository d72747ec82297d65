"""Keys that do nothing under the options chosen beside them: one table, read by `load_recipe`.

Whoever writes `train.power: 3` under a linear schedule believes that it matters, so it is refused.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tael.recipe.fields import infos, shown
from tael.recipe.roles import ONLY, ROLES, roles_of
from tael.recipe.schema import Lora, Pretrain, Recipe
from tael.recipe.source import KeyPath

__all__ = ["idle"]

_MOST = 0.5  # a section of which a larger share is written out was printed by `--resolved`
_FEW = 2  # a section of so few keys says nothing by being complete


@dataclass(frozen=True)
class _Rule:
    """`keys` do nothing where `when` holds, which `because` decides; `mend` gives them effect."""

    keys: tuple[str, ...]
    because: tuple[str, ...]
    when: Callable[[Recipe], bool]
    mend: str


def _stage_rules(name: str, stage: Callable[[Recipe], Any]) -> Iterator[_Rule]:
    schedule = (f"{name}.schedule",)
    yield _Rule(
        (f"{name}.power",),
        schedule,
        lambda recipe: stage(recipe).schedule != "polynomial",
        "set schedule: polynomial",
    )
    yield _Rule(
        (f"{name}.final_rate",),
        schedule,
        lambda recipe: stage(recipe).schedule in ("constant", "inverse-sqrt"),
        "set another schedule",
    )
    yield _Rule(
        (f"{name}.restarts",),
        schedule,
        lambda recipe: stage(recipe).schedule != "cosine",
        "set schedule: cosine",
    )
    yield _Rule(
        (f"{name}.cooldown",),
        schedule,
        lambda recipe: stage(recipe).schedule != "stable",
        "set schedule: stable",
    )
    falls = tuple(f"{name}.{key}" for key in ("factor", "factor_steps", "staircase"))
    yield _Rule(
        falls,
        schedule,
        lambda recipe: stage(recipe).schedule != "exponential",
        "set schedule: exponential",
    )
    yield _Rule(
        falls[1:], falls[:1], lambda recipe: stage(recipe).factor is None, f"set {falls[0]}"
    )
    yield _Rule(
        (f"{name}.final_rate",),
        (f"{name}.factor",),
        lambda recipe: stage(recipe).factor is not None,
        f"remove {falls[0]}",
    )
    yield from _optimizer_rules(name, stage)
    yield _Rule(
        (f"{name}.micro_batch",),
        (f"{name}.batch",),
        lambda recipe: (stage(recipe).micro_batch or 0) > stage(recipe).batch,
        "set it to a part of batch",
    )


def _optimizer_rules(name: str, stage: Callable[[Recipe], Any]) -> Iterator[_Rule]:
    optimizer = (f"{name}.optimizer",)
    for key, users in (
        ("betas", ("adamw", "adam", "lion", "muon")),
        ("eps", ("adamw", "adam", "muon")),
        ("momentum", ("sgd", "muon")),
    ):
        yield _Rule(
            (f"{name}.{key}",),
            optimizer,
            lambda recipe, users=users: stage(recipe).optimizer not in users,  # type: ignore[misc]
            f"set optimizer: {users[0]}",
        )


def _role_rules() -> Iterator[_Rule]:
    """Yield a rule for each role and setting that other tasks than the recipe's have."""
    for role in dict.fromkeys(role for roles in ROLES.values() for role in roles):
        yield _Rule(
            (f"data.columns.{role}",),
            ("task",),
            lambda recipe, role=role: _unread(recipe, role),  # type: ignore[misc]  # bound early
            "name the columns that this task reads",
        )
    for key, tasks in ONLY.items():
        yield _Rule(
            (key,),
            ("task",),
            lambda recipe, tasks=tasks: recipe.task in ROLES and recipe.task not in tasks,  # type: ignore[misc]  # bound early
            "take a task that has it",
        )


def _unread(recipe: Recipe, role: str) -> bool:
    # The files for pretraining have their text in the column `text`, whatever the task.
    is_pretraining = role == "text" and recipe.pretrain.text is not None
    return role not in roles_of(recipe.task) and not is_pretraining


def _learns(recipe: Recipe, *objectives: str) -> bool:
    """Whether pretraining has one of these objectives; false where only the checkpoint knows."""
    usual = {"encoder": "mlm", "decoder": "clm", "encoder-decoder": "span"}
    wanted: str = recipe.pretrain.objective
    if wanted == "auto" and recipe.model.from_ is None:
        wanted = usual[recipe.model.architecture]
    return wanted in objectives


def _no_dev(recipe: Recipe) -> bool:
    return recipe.data.dev is None and recipe.data.split[1] == 0


_PRETRAIN = tuple(
    f"pretrain.{key}" for key in Pretrain.model_fields if key not in ("steps", "text")
)
# The first rule that fits a key is the one that is told.
_RULES = (
    *_role_rules(),
    _Rule(
        _PRETRAIN,
        ("pretrain.steps",),
        lambda recipe: recipe.pretrain.steps == 0,
        "set pretrain.steps",
    ),
    _Rule(  # without a checkpoint the tokenizer still learns its units from that text
        ("pretrain.text",),
        ("pretrain.steps", "model.from"),
        lambda recipe: recipe.pretrain.steps == 0 and recipe.model.from_ is not None,
        "set pretrain.steps",
    ),
    _Rule(
        ("pretrain.mask",),
        ("pretrain.objective", "model.architecture"),
        lambda recipe: _learns(recipe, "clm"),
        "set another objective",
    ),
    _Rule(
        ("pretrain.span",),
        ("pretrain.objective", "model.architecture"),
        lambda recipe: _learns(recipe, "clm", "mlm"),
        "set objective: span",
    ),
    *_stage_rules("pretrain", lambda recipe: recipe.pretrain),
    *_stage_rules("train", lambda recipe: recipe.train),
    _Rule(
        ("train.layer_decay",),
        ("train.freeze",),
        lambda recipe: recipe.train.freeze == "body",
        "set freeze to a number of layers",
    ),
    _Rule(
        tuple(f"train.lora.{key}" for key in Lora.model_fields if key != "rank"),
        ("train.lora.rank",),
        lambda recipe: recipe.train.lora.rank == 0,
        "set train.lora.rank",
    ),
    _Rule(
        ("train.freeze", "train.adversary"),
        ("train.lora.rank",),
        lambda recipe: recipe.train.lora.rank > 0,
        "set train.lora.rank: 0",
    ),
    _Rule(
        ("train.adversary",),
        ("train.freeze",),
        lambda recipe: recipe.train.freeze is not None,
        "remove freeze",
    ),
    _Rule(
        ("train.label_smoothing", "train.class_weights"),
        ("data.labels",),
        lambda recipe: recipe.data.labels == "regression",
        "set data.labels: single",
    ),
    _Rule(
        ("train.patience", "train.keep_best"),
        ("data.split",),
        _no_dev,
        "give data.dev, or a share of data.split to dev",
    ),
    _Rule(
        ("train.patience",),
        ("train.evaluations",),
        lambda recipe: recipe.train.patience >= recipe.train.evaluations,
        "set it below evaluations",
    ),
    _Rule(
        ("data.split",),
        ("data.dev", "data.test"),
        lambda recipe: recipe.data.dev is not None and recipe.data.test is not None,
        "remove one of them",
    ),
    _Rule(
        ("data.group", "data.time"),
        ("data.dev", "data.test"),
        lambda recipe: recipe.data.dev is not None and recipe.data.test is not None,
        "remove one of them",
    ),
    _Rule(  # near_threshold is not here: leaks are looked for with it whatever dedup says
        ("data.clean.conflicts",),
        ("data.clean.dedup",),
        lambda recipe: recipe.data.clean.dedup == "off",
        "set dedup: exact",
    ),
)


def idle(
    recipe: Recipe, written: Mapping[KeyPath, bool], bad: set[KeyPath]
) -> Iterator[tuple[KeyPath, str]]:
    """Yield each written key that has no effect, with the reason and what to do about it.

    `written` holds the keys that the user gave, true where an override gave them; `bad` those whose
    value was refused, which decide nothing. An override that turns a part of the recipe off
    (`pretrain.steps=0`) does not ask for that part to be deleted from the file.
    """
    told: set[KeyPath] = set()
    for rule in _RULES:
        deciding = [_path(name) for name in rule.because]
        if bad & set(deciding) or not rule.when(recipe):
            continue
        turned_off = any(written.get(path, False) for path in deciding)
        for path in map(_path, rule.keys):
            if path not in written or path in bad | told or _printed(recipe, path, written):
                continue
            if written[path] or not turned_off:
                told.add(path)
                reasons = " and ".join(_state(recipe, name) for name in rule.because)
                yield path, f"has no effect: {reasons}; {rule.mend} or remove it"


def _printed(recipe: Recipe, path: KeyPath, written: Mapping[KeyPath, bool]) -> bool:
    """Say whether a key stands at its default where every key is listed, as tael prints them."""
    section = [other for other in infos() if other[:-1] == path[:-1]]
    share = sum(other in written for other in section) / len(section)
    whole = share > _MOST and len(section) > _FEW
    whole |= len(written) > _MOST * len(infos())  # small sections of a recipe that is all there
    return whole and _value(recipe, path) == infos()[path].default


def _state(recipe: Recipe, name: str) -> str:
    value = _value(recipe, _path(name))
    return f"{name} is {'given' if _is_path(name) else shown(value)}"


def _is_path(name: str) -> bool:
    return name in ("data.dev", "data.test", "model.from")


def _path(name: str) -> KeyPath:
    return tuple(name.split("."))


def _value(recipe: Recipe, path: KeyPath) -> Any:
    value: Any = recipe
    for part in path:
        value = getattr(value, "from_" if part == "from" else part)
    return value
