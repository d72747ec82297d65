"""Attention of many heads, and what each query may see.

Letters: B rows · T query positions · S key positions · H heads · G heads of keys and values · R
query heads a key head · K head size · D hidden.
Vaswani et al. 2017, Attention Is All You Need, arXiv:1706.03762, section 3.2; shared keys: Ainslie
et al. 2023, GQA, arXiv:2305.13245.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.batch import Batch
from tael.model.config import ModelConfig
from tael.model.document import Groups, join, part
from tael.model.dropout import dropout as drop
from tael.model.ffn import Stacked
from tael.model.norm import RMSNorm
from tael.model.position import Rotation, rotate

__all__ = ["Attention", "Memory", "Store", "View", "attend", "seen_by", "source_seen", "visible"]

_SHORT = 1024  # keys; beyond, holding all scores for the backward pass costs too much memory


@dataclass(frozen=True, slots=True)
class View:
    """What the queries of one pass may see; the same for all layers of a kind.

    The mask is (B or 1, H or 1, T or 1, S): true where a query may look, or a number added to its
    score. None and not `causal`: everything; None and `causal`: itself and what stands before it.
    With `groups` each document is computed for itself, and the mask speaks of places in one.
    """

    mask: Tensor | None = None
    causal: bool = False
    rotation: Rotation | None = None
    groups: Groups | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decoder reads: the encoder's states, and which of them each query sees."""

    x_BSD: Tensor
    mask: Tensor | None


class Store(Protocol):
    """A layer's keys and values of earlier passes."""

    def extend(self, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the new ones; return all that the view speaks of, (B, G, S, K) each."""

    def source(self) -> tuple[Tensor, Tensor] | None:
        """Return the keys and values of the source, once they are known."""

    def keep_source(self, k_BGSK: Tensor, v_BGSK: Tensor) -> None:
        """Keep the keys and values of the source."""


class Attention(nn.Module):
    """Every position gathers what it needs from the positions it may see.

    `cross`: queries come from one text, keys and values from another.
    """

    def __init__(self, config: ModelConfig, *, cross: bool = False) -> None:
        super().__init__()
        self.heads, self.groups, self.width = config.heads, config.groups, config.width
        self.scale = (
            config.width**-0.5 if config.attention_scale is None else config.attention_scale
        )
        self.cap, self.dropout = config.attention_cap, config.attention_dropout
        outer, inner = self.heads * self.width, self.groups * self.width
        if cross:
            self.q = nn.Linear(config.hidden, outer, bias=config.qkv_bias)
            self.kv = Stacked(config.hidden, (inner, inner), config.qkv_bias)
        else:
            self.qkv = Stacked(config.hidden, (outer, inner, inner), config.qkv_bias)
        self.out = nn.Linear(outer, config.hidden, bias=config.out_bias)
        self.qk_norm = config.qk_norm
        if config.qk_norm:
            sizes = (config.width, config.norm_eps, config.norm_offset)
            self.q_norm, self.k_norm = RMSNorm(*sizes), RMSNorm(*sizes)

    def forward(self, x_BTD: Tensor, view: View, store: Store | None = None) -> Tensor:
        """Return (B, T, D): each position's gathering from its own text."""
        both = self.heads + self.groups  # queries and keys turn alike, so they turn as one
        qk_BHTK, v_BGTK = self._heads(self.qkv(x_BTD)).split_with_sizes((both, self.groups), 1)
        if self.qk_norm:
            q_BHTK, k_BGTK = qk_BHTK.split_with_sizes((self.heads, self.groups), 1)
            qk_BHTK = torch.cat((self.q_norm(q_BHTK), self.k_norm(k_BGTK)), dim=1)
        if view.rotation is not None:
            qk_BHTK = rotate(qk_BHTK, view.rotation)
        q_BHTK, k_BGTK = qk_BHTK.split_with_sizes((self.heads, self.groups), 1)
        if store is not None:
            k_BGTK, v_BGTK = store.extend(k_BGTK, v_BGTK)
        return self._gather(q_BHTK, k_BGTK, v_BGTK, view)

    def read(self, x_BTD: Tensor, memory: Memory, store: Store | None = None) -> Tensor:
        """Return (B, T, D): each position's gathering from the source."""
        kept = store.source() if store is not None else None
        if kept is None:
            k_part, v_part = self.kv(memory.x_BSD).split(self.kv.parts, dim=-1)
            k_BGSK = self._heads(k_part)
            kept = self.k_norm(k_BGSK) if self.qk_norm else k_BGSK, self._heads(v_part)
            if store is not None:
                store.keep_source(*kept)
        q_BHTK = self._heads(self.q(x_BTD))
        if self.qk_norm:
            q_BHTK = self.q_norm(q_BHTK)
        return self._gather(q_BHTK, *kept, View(memory.mask))

    def _heads(self, x_BTE: Tensor) -> Tensor:
        return x_BTE.view(*x_BTE.shape[:2], -1, self.width).transpose(1, 2)

    def _gather(self, q_BHTK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor, view: View) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if view.groups is None:
            out_BHTK = attend(q_BHTK, k_BGSK, v_BGSK, view, self.scale, self.cap, dropout)
        else:
            parts = [part(x, view.groups) for x in (q_BHTK, k_BGSK, v_BGSK)]
            out = [
                attend(q, k, v, View(seen, causal), self.scale, self.cap, dropout)
                for (seen, causal), q, k, v in zip(_seen_in(view), *parts, strict=True)
            ]
            out_BHTK = join(out, view.groups, q_BHTK)
        out_BTD: Tensor = self.out(out_BHTK.transpose(1, 2).flatten(2))
        return out_BTD


def attend(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    view: View,
    scale: float,
    cap: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return softmax(scale · q kᵀ + mask) v, (B, H, T, K)."""
    learning = q_BHTK.requires_grad and torch.is_grad_enabled() and k_BGSK.shape[2] <= _SHORT
    if cap is not None or (learning and q_BHTK.device.type == "cpu"):
        return _attend_plain(q_BHTK, k_BGSK, v_BGSK, view, scale, cap, dropout)
    mask, shared = view.mask, q_BHTK.shape[1] != k_BGSK.shape[1]
    one = shared and q_BHTK.shape[2] == 1
    if one:  # heads that share keys as positions of one head: 5 times faster, no key is copied
        rows, groups = k_BGSK.shape[:2]
        q_BHTK = q_BHTK.view(rows, groups, -1, q_BHTK.shape[-1])
        if mask is not None and mask.shape[1] > 1:
            mask = mask.view(len(mask), groups, -1, mask.shape[-1])
    out_BHTK = F.scaled_dot_product_attention(
        q_BHTK,
        k_BGSK,
        v_BGSK,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=view.causal,
        scale=scale,
        enable_gqa=shared and not one,
    )
    return out_BHTK.flatten(1, 2).unsqueeze(2) if one else out_BHTK


def _seen_in(view: View) -> Iterator[tuple[Tensor | None, bool]]:
    """Yield for each group what its queries see, and whether that is all that stands before."""
    assert view.groups is not None, "asked for the groups of a view that has none"
    for (_, size), mask_NL in zip(view.groups.shapes, view.groups.masks, strict=True):
        seen = None if view.mask is None else view.mask[..., :size, :size]
        if mask_NL is None or (seen is None and view.causal):  # padding stands last
            yield seen, view.causal
        elif seen is None or seen.dtype == torch.bool:
            real = mask_NL[:, None, None, :]
            yield real if seen is None else real & seen, False
        else:
            yield seen.masked_fill(~mask_NL[:, None, None, :], -torch.inf), False


def _attend_plain(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSK: Tensor,
    view: View,
    scale: float,
    cap: float | None,
    dropout: float,
) -> Tensor:
    """Compute the same step by step.

    A cap bends the scores before the softmax (Gemma 2, arXiv:2408.00118), which no fused kernel
    does; and on a processor the fused kernel's backward pass takes several times as long.
    """
    repeats = q_BHTK.shape[1] // k_BGSK.shape[1]
    if repeats > 1:
        k_BGSK, v_BGSK = (x.repeat_interleave(repeats, dim=1) for x in (k_BGSK, v_BGSK))
    scores_BHTS = (q_BHTK * scale) @ k_BGSK.mT
    if cap is not None:
        scores_BHTS = cap * torch.tanh(scores_BHTS / cap)
    mask = view.mask
    if view.causal:
        mask = torch.ones(scores_BHTS.shape[-2:], dtype=torch.bool, device=q_BHTK.device).tril()
    if mask is not None:
        hidden = mask.dtype == torch.bool
        scores_BHTS = scores_BHTS.masked_fill(~mask, -torch.inf) if hidden else scores_BHTS + mask
    weights_BHTS = scores_BHTS.softmax(dim=-1)
    return drop(weights_BHTS, dropout) @ v_BGSK


def visible(batch: Batch, *, causal: bool, window: int | None) -> Tensor | None:
    """Say which keys a query sees: bool, (B, 1, 1, S) or (B, 1, T, S); None where masks need none.

    None means all keys, or with `causal` all that stand before: padding comes last in a padded row,
    so no query of a text sees it. In packed rows padding sees padding, so no row of scores is empty
    and none becomes NaN.
    """
    if window is None and batch.prefix_BT is None:
        if batch.layout == "full" or (causal and batch.layout == "padded"):
            return None
        if batch.layout == "padded":
            return (batch.documents_BT != 0)[:, None, None, :]
    documents_BT = batch.documents_BT
    seen_BTS = documents_BT[:, :, None] == documents_BT[:, None, :]
    if causal or window is not None:
        # Documents lie in one piece, so the distance in the row is that between positions.
        at_T = torch.arange(documents_BT.shape[1], device=documents_BT.device)
        near_BTS = seen_by(at_T[:, None], at_T[None, :], causal=causal, window=window)[None]
        if batch.prefix_BT is not None:
            near_BTS = near_BTS | batch.prefix_BT[:, None, :]
        seen_BTS = seen_BTS & near_BTS
    return seen_BTS[:, None]


def seen_by(queries: Tensor, keys: Tensor, *, causal: bool, window: int | None) -> Tensor:
    """Say which positions of keys those of queries see, by order and distance.

    A window counts the query itself when it looks back only, and half lies on each side otherwise.
    """
    if causal:
        seen = keys <= queries
        return seen if window is None else seen & (queries - keys < window)
    assert window is not None, "without order or window all keys are seen"
    return (queries - keys).abs() <= window // 2


def source_seen(batch: Batch, source: Batch) -> Tensor | None:
    """Say which positions of the source each query sees, as `visible` does; padding sees all."""
    if source.layout == "full" and batch.layout != "packed":
        return None
    if source.layout == "padded" and batch.layout != "packed":
        return (source.documents_BT != 0)[:, None, None, :]
    documents_BT1 = batch.documents_BT[:, :, None]
    same_BTS = documents_BT1 == source.documents_BT[:, None, :]
    return (same_BTS | (documents_BT1 == 0))[:, None]
