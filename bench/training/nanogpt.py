"""A GPT and its training loop in the manner of nanoGPT: one page, nothing hidden.

After Karpathy's nanoGPT (github.com/karpathy/nanoGPT): blocks of a fixed length from one array of
ids, autocast, a fused AdamW, gradients clipped; optionally compiled.

Letters: B blocks · T positions · D hidden · V vocabulary.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.turns import Tell

__all__ = ["GPT", "loop"]


class Layer(nn.Module):
    """Attention and feed-forward, each after its norm."""

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.attention_norm, self.ffn_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return (B, T, D)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.attention_norm(x_BTD)).chunk(3, -1)
        )
        lost = self.dropout.p if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, dropout_p=lost, is_causal=True)
        x_BTD = x_BTD + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))
        bent_BTF = F.gelu(self.up(self.ffn_norm(x_BTD)))
        return x_BTD + self.dropout(self.down(bent_BTF))  # type: ignore[no-any-return]


class GPT(nn.Module):
    """GPT-2, scores from the token embedding."""

    def __init__(
        self, vocab: int, block: int, hidden: int, layers: int, heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab, hidden), nn.Embedding(block, hidden)
        self.layers = nn.ModuleList(Layer(hidden, heads, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(hidden)
        for weight in self.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, 0, 0.02)

    def forward(self, ids_BT: Tensor, next_BT: Tensor) -> Tensor:
        """Return the mean loss."""
        at_T = torch.arange(ids_BT.shape[1])
        x_BTD = self.dropout(self.tokens(ids_BT) + self.places(at_T))
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        logits_BTV = F.linear(self.norm(x_BTD), self.tokens.weight)
        return F.cross_entropy(logits_BTV.flatten(0, 1), next_BT.flatten())


def loop(
    model: GPT, ids: list[int], *, block: int, batch: int, compiled: bool
) -> Callable[[Tell], None]:
    """Return the loop: `batch` blocks a step, from anywhere in `ids`."""

    def work(tell: Tell) -> None:
        array, luck = np.array(ids, np.uint16), np.random.default_rng(0)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim == 1]
        kinds = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(kinds, lr=1e-4, betas=(0.9, 0.95), fused=True)
        run = torch.compile(model) if compiled else model
        while True:
            at = luck.integers(len(array) - block, size=batch)
            here = torch.from_numpy(np.stack([array[i : i + block].astype(np.int64) for i in at]))
            after = torch.from_numpy(
                np.stack([array[i + 1 : i + 1 + block].astype(np.int64) for i in at])
            )
            with torch.autocast("cpu", torch.bfloat16):
                loss = run(here, after)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            tell(here.numel(), here.numel())

    return work
