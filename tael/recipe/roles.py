"""Which roles of `data.columns` each task reads, and which settings are of one task only.

The names of the roles are the same for everybody: a task that is not listed reads any of them.
"""

from collections.abc import Mapping

__all__ = ["ONLY", "ROLES", "roles_of"]

ROLES: Mapping[str, tuple[str, ...]] = {
    "classify": ("text", "text_pair", "label"),
    "tag": ("tokens", "tags", "text", "spans"),
    "qa": ("context", "question", "answers"),
    "seq2seq": ("source", "target", "question", "context", "answers"),
    "chat": ("messages",),
    "embed": ("text", "text_pair", "negative", "score", "label"),
    "clm": ("text",),
    "mlm": ("text",),
}

_REPAIRS = tuple(
    f"data.clean.{rule}" for rule in ("unicode", "controls", "whitespace", "html", "width")
)
# Setting → the tasks in which it does something.
ONLY: Mapping[str, tuple[str, ...]] = {
    "data.labels": ("classify",),
    "data.fixes": ("classify",),
    "train.class_weights": ("classify",),
    "data.order": ("clm",),
    # Spans count characters of the text as it was written, so nothing there is repaired.
    **dict.fromkeys(
        (*_REPAIRS, "data.clean.personal"),
        tuple(task for task in ROLES if task not in ("tag", "qa", "chat")),
    ),
    **dict.fromkeys(
        ("embed.pool", "embed.temperature", "embed.sizes", "embed.weights"), ("embed",)
    ),
    **dict.fromkeys(
        ("seq2seq.prompt", "seq2seq.longest", "seq2seq.beams", "seq2seq.metric"), ("seq2seq",)
    ),
    "chat.longest": ("chat",),
    **dict.fromkeys(("qa.stride", "qa.longest", "qa.match"), ("qa",)),
}


def roles_of(task: str) -> tuple[str, ...]:
    """Return the roles that `task` reads; all of them for a task that is not known here."""
    everything = dict.fromkeys(role for roles in ROLES.values() for role in roles)
    return ROLES.get(task, tuple(everything))
