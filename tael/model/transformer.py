"""The Transformer: token ids to one vector a position, through one stack of layers or two.

Letters: B rows · T positions · S key positions · D hidden.
Vaswani et al. 2017, arXiv:1706.03762; no head here, those are in head.py.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from tael.model.attention import Memory, View, seen_by, source_seen, visible
from tael.model.batch import Batch
from tael.model.block import Block
from tael.model.cache import Cache
from tael.model.config import ModelConfig
from tael.model.document import Groups, group
from tael.model.dropout import Dropout
from tael.model.norm import norm
from tael.model.position import (
    Alibi,
    LearnedPositions,
    RelativeBias,
    Rotary,
    SinusoidalPositions,
)

__all__ = ["Embedding", "EncoderDecoder", "Transformer"]

_LONG = 256  # positions a row

Stack = Literal["encoder", "decoder"]


class Embedding(nn.Module):
    """What a token is, where it stands and which text it belongs to, summed."""

    def __init__(self, config: ModelConfig, tokens: nn.Embedding | None = None) -> None:
        super().__init__()
        self.tokens = nn.Embedding(config.vocab, config.token_width) if tokens is None else tokens
        self.scale = config.embedding_scale
        self.types = nn.Embedding(config.types, config.token_width) if config.types else None
        kinds = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}
        kind = kinds.get(config.position)
        self.positions = kind(config) if kind else None
        self.norm = norm(config, config.token_width) if config.embedding_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)
        narrow = config.embedding_size is not None
        self.widen = nn.Linear(config.token_width, config.hidden) if narrow else nn.Identity()

    def forward(self, batch: Batch) -> Tensor:
        """Return (B, T, D)."""
        x_BTD: Tensor = self.tokens(batch.ids_BT)
        if self.scale != 1.0:  # the factor is rounded first, as in training
            x_BTD = x_BTD * torch.tensor(self.scale, dtype=x_BTD.dtype, device=x_BTD.device)
        if self.positions is not None:
            at = self.positions(batch.positions_BT, batch.ids_BT.shape[1])
            x_BTD = x_BTD + at.to(x_BTD.device, x_BTD.dtype)
        if self.types is not None:
            none = batch.types_BT is None
            x_BTD = x_BTD + (self.types.weight[0] if none else self.types(batch.types_BT))
        x_BTD = self.widen(self.dropout(self.norm(x_BTD)))
        return x_BTD


class Transformer(nn.Module):
    """An embedding and a stack of layers; `embedding` is the seam for inputs that are no tokens."""

    def __init__(
        self, config: ModelConfig, stack: Stack | None = None, tokens: nn.Embedding | None = None
    ) -> None:
        super().__init__()
        stack = stack or ("decoder" if config.stacks == "decoder" else "encoder")
        self.config, self.causal = config, stack == "decoder"
        self.embedding = Embedding(config, tokens)
        cross = config.stacks == "both" and stack == "decoder"
        self.depth = config.depth(stack)
        self.blocks = nn.ModuleList(
            Block(config, cross=cross, first=n == 0)
            for n in range(-(-self.depth // config.sharing))
        )
        self.final_norm = norm(config) if config.final_norm else nn.Identity()
        self.dropout = Dropout(config.dropout if config.final_norm else 0.0)
        self.bias: RelativeBias | Alibi | None = None
        if config.position == "relative":
            self.bias = RelativeBias(config, both_ways=not self.causal)
        elif config.position == "alibi":
            self.bias = Alibi(config)
        rotary = config.position == "rotary"
        local_base = config.rotary_base_local
        self.rotary = Rotary(config, config.rotary_base, config.rescale) if rotary else None
        self.rotary_local = self.rotary
        if rotary and local_base is not None:
            self.rotary_local = Rotary(config, local_base, None)

    def forward(
        self,
        batch: Batch,
        memory: Memory | None = None,
        cache: Cache | None = None,
        keep: list[Tensor] | None = None,
    ) -> Tensor:
        """Return (B, T, D); vectors at padding are finite and mean nothing.

        With a cache the batch continues what the cache holds, and is kept in it. `keep` collects
        the embedding's output and every layer's; the last one is what is returned.
        """
        x_BTD: Tensor = self.embedding(batch)
        groups = None
        if cache is None and _grouped(batch):
            groups = group(batch.documents_BT)
        views = {
            local: self.view(batch, x_BTD, cache, groups, local=local) for local in self._kinds()
        }
        for layer in range(self.depth):
            if keep is not None:
                keep.append(x_BTD)
            block = self.blocks[layer // self.config.sharing]
            store = cache.layers[layer] if cache is not None else None
            x_BTD = block(x_BTD, views[self.config.is_local(layer)], memory, store)
        x_BTD = self.dropout(self.final_norm(x_BTD))
        if keep is not None:
            keep.append(x_BTD)
        return x_BTD

    def _kinds(self) -> set[bool]:
        return {self.config.is_local(layer) for layer in range(self.depth)}

    def view(
        self,
        batch: Batch,
        x_BTD: Tensor,
        cache: Cache | None,
        groups: Groups | None,
        *,
        local: bool,
    ) -> View:
        """Return what queries see in local layers, or in the others."""
        window = self.config.window if local else None
        at_BT = batch.positions_BT
        if at_BT is None:
            at_BT = torch.arange(batch.ids_BT.shape[1], device=x_BTD.device)[None]
        rotary = self.rotary_local if local else self.rotary
        rotation = rotary(at_BT, x_BTD.dtype) if rotary is not None else None
        keys_BS = at_BT
        if groups is not None:  # the mask speaks of places in a document
            at_BT = keys_BS = torch.arange(groups.longest, device=x_BTD.device)[None]
            mask = None
            if window is not None:
                near = seen_by(at_BT.T, at_BT, causal=self.causal, window=window)
                mask = near[None, None]
        elif cache is None or cache.begins(local=local):
            mask = visible(batch, causal=self.causal, window=window)
            if cache is not None:
                cache.claim(batch, at_BT, local=local)
        else:
            keys_BS, mask = cache.claim(batch, at_BT, local=local)
        causal = self.causal and mask is None and batch.ids_BT.shape[1] > 1
        if self.bias is None:
            return View(mask, causal, rotation, groups)
        bias = self.bias(at_BT, keys_BS).to(x_BTD.dtype)
        if causal:
            length = bias.shape[-1]
            mask = torch.ones(length, length, dtype=torch.bool, device=bias.device).tril()
        seen = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
        return View(seen, False, rotation, groups)


def _grouped(batch: Batch) -> bool:
    """Whether attention goes document by document: where that is faster, and can be.

    Measured at 85 tokens a document, forward and backward, in bfloat16: 0.74 of the time of a mask
    in rows of 512, 0.94 in rows of 256; in rows of 128 the mask wins.
    """
    on_processor = batch.ids_BT.device.type == "cpu"
    long = batch.ids_BT.shape[1] >= _LONG
    return batch.layout == "packed" and batch.prefix_BT is None and on_processor and long


class EncoderDecoder(nn.Module):
    """Two stacks: one reads the source, the other writes and reads the first one's states."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = Transformer(config, "encoder")
        self.decoder = Transformer(config, "decoder", tokens=self.encoder.embedding.tokens)
        if config.stacks_shared:  # Rothe et al. 2020, arXiv:1907.12461, section 2
            for own, its in zip(self.decoder.blocks, self.encoder.blocks, strict=True):
                own.attention, own.attention_norm = its.attention, its.attention_norm
                own.ffn, own.ffn_norm = its.ffn, its.ffn_norm
                own.attention_after, own.ffn_after = its.attention_after, its.ffn_after

    @property
    def embedding(self) -> Embedding:
        """The encoder's embedding, whose tokens both stacks share."""
        return self.encoder.embedding

    def forward(
        self, batch: Batch, cache: Cache | None = None, keep: list[Tensor] | None = None
    ) -> Tensor:
        """Return the decoder's states (B, T, D) for what it has written so far."""
        return self.decoder(batch, self.remember(batch, cache), cache, keep)  # type: ignore[no-any-return]

    def remember(self, batch: Batch, cache: Cache | None = None) -> Memory:
        """Return the source as the decoder sees it; read once where there is a cache."""
        if cache is not None and cache.memory is not None:
            return cache.memory
        assert batch.source is not None, "an encoder-decoder is given a source"
        seen = source_seen(batch, batch.source)
        if cache is not None and batch.layout == "packed":
            # One document a row, so what this pass sees of the source later ones of any length do.
            seen = (batch.source.documents_BT != 0)[:, None, None, :]
        memory = Memory(self.encoder(batch.source), seen)
        if cache is not None:
            cache.memory = memory
        return memory
