"""One more token of each text, by the shortest way: the same sums as the blocks', in one function.

For one position a layer's products take some tens of microseconds, and as much goes into calling
modules and into kernels that do little. Here all that stays the same over the passes is fetched
once. Sums of the residual stream and norms are float32 at least, so in lower precision this rounds
less often than the blocks do.

Letters: B rows · D hidden · E all heads of a layer · G heads of keys and values · R query heads a
key head · K head size · S kept positions · F ffn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tael.model.batch import Batch
from tael.model.block import Block
from tael.model.cache import Cache
from tael.model.coded import GROUP, CodedLinear
from tael.model.norm import RMSNorm
from tael.model.prepack import Prepacked
from tael.model.transformer import Transformer

__all__ = ["Stepper", "can_step"]

Product = Callable[[Tensor], Tensor]  # (B, inputs) to (B, outputs)
_Seen = tuple[Tensor | None, Tensor, Tensor]  # mask, cos, sin


def can_step(body: nn.Module) -> bool:
    """Whether a network's body is of the kind that this is written for.

    A decoder as Llama: norms before the layers and by root mean square, rotary positions, nothing
    bent or added to the scores; and nobody listens to its modules.
    """
    if not isinstance(body, Transformer) or body.training:
        return False
    config = body.config
    plain = config.attention_cap is None and not config.qk_norm and config.rotary_share == 1
    listened = any(m._forward_hooks or m._forward_pre_hooks for m in body.modules())
    alike = all(
        type(block) is Block
        and isinstance(block.attention_norm, RMSNorm)
        and block.cross is None
        and block.attention_after is None
        for block in body.blocks
    )
    return (
        config.norm_place == "pre"
        and isinstance(body.final_norm, RMSNorm)
        and body.causal
        and body.rotary is not None
        and body.bias is None
        and plain
        and alike
        and not listened
        and body.embedding.tokens.weight.device.type == "cpu"
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    """What a layer multiplies by."""

    before_attention_D: Tensor
    qkv: Product
    out: Product
    before_ffn_D: Tensor
    up: Product
    down: Product
    bend: Callable[[Tensor], Tensor]
    gated: bool


class Stepper:
    """Reads one token a text; made anew where weights may have changed."""

    def __init__(self, body: Transformer, dtype: torch.dtype) -> None:
        self.body, self.dtype = body, dtype
        config = body.config
        self.heads, self.groups, self.width = config.heads, config.groups, config.width
        self.repeats = config.heads // config.groups
        self.wide = torch.promote_types(dtype, torch.float32)
        blocks = [block for block in body.blocks if isinstance(block, Block)]
        self.scale = blocks[0].attention.scale
        fetched = [self._fetch(block) for block in blocks]
        self.layers = [fetched[layer // config.sharing] for layer in range(body.depth)]
        self.local = [config.is_local(layer) for layer in range(body.depth)]
        self.last_D = self._weight(body.final_norm)

    def __call__(self, batch: Batch, cache: Cache) -> Tensor:
        """Return the hidden states (B, 1, D) after one more position a row, kept in the cache."""
        x_B1D = self.body.embedding(batch)
        rows, size = len(x_B1D), x_B1D.shape[-1]
        views = {local: self._seen(batch, x_B1D, cache, local) for local in set(self.local)}
        # With the last number the length of a row is the root of D (mean square + eps).
        long_BD = torch.empty(rows, size + 1, dtype=self.wide)
        long_BD[:, size] = (size * self.body.config.norm_eps) ** 0.5
        x_BD = long_BD[:, :size]
        x_BD.copy_(x_B1D[:, 0])
        normed_BD = torch.empty(rows, size, dtype=self.dtype)

        def normed(weight_D: Tensor) -> Tensor:
            return torch.mul(x_BD / _length(long_BD, 2, [1], True), weight_D, out=normed_BD)

        for layer, local, kept in zip(self.layers, self.local, cache.room(), strict=True):
            qkv_BE = layer.qkv(normed(layer.before_attention_D))
            x_BD.add_(layer.out(self._attend(qkv_BE, views[local], *kept)))
            x_BF = layer.up(normed(layer.before_ffn_D))
            if layer.gated:
                gate_BF, x_BF = x_BF.chunk(2, 1)
                x_BF = layer.bend(gate_BF) * x_BF
            else:
                x_BF = layer.bend(x_BF)
            x_BD.add_(layer.down(x_BF))
        return normed(self.last_D)[:, None]

    def _seen(self, batch: Batch, x_B1D: Tensor, cache: Cache, local: bool) -> _Seen:
        """Make room in the layers of a kind; return what the new position sees there, and how."""
        view = self.body.view(batch, x_B1D, cache, None, local=local)
        assert view.rotation is not None, "asked before"
        cos_B1K, sin_B1K = (x[:, :, 0] for x in view.rotation)
        return view.mask, cos_B1K, sin_B1K

    def _attend(
        self, qkv_BE: Tensor, seen: _Seen, new_B2GK: Tensor, k_BGSK: Tensor, v_BGSK: Tensor
    ) -> Tensor:
        """Return what each head gathers, (B, E); the new keys and values are kept on the way."""
        mask, cos_B1K, sin_B1K = seen
        rows = len(qkv_BE)
        all_BHK = qkv_BE.view(rows, -1, self.width)
        qk_BHK = all_BHK[:, : self.heads + self.groups]
        rolled_BHK = qk_BHK.roll(self.width // 2, 2)
        torch.addcmul(qk_BHK * cos_B1K, rolled_BHK, sin_B1K, out=qk_BHK)
        new_B2GK.copy_(all_BHK[:, self.heads :].view(new_B2GK.shape))
        # Heads that share keys as positions of one head: no key is copied.
        q_BGRK = all_BHK[:, : self.heads].view(rows, self.groups, self.repeats, self.width)
        out_BGRK = F.scaled_dot_product_attention(
            q_BGRK, k_BGSK, v_BGSK, attn_mask=mask, scale=self.scale
        )
        return out_BGRK.reshape(rows, -1)

    def _fetch(self, block: Block) -> _Layer:
        attention, ffn = block.attention, block.ffn
        return _Layer(
            self._weight(block.attention_norm),
            _product(attention.qkv),
            _product(attention.out),
            self._weight(block.ffn_norm),
            _product(ffn.up),
            _product(ffn.down),
            ffn.activation,
            ffn.gated,
        )

    def _weight(self, norm: nn.Module) -> Tensor:
        """Return a norm's weights, times the root of D: they multiply numbers over their length."""
        assert isinstance(norm, RMSNorm), "asked before"
        weight_D = norm.weight.to(self.wide)
        scaled_D: Tensor = (norm.offset + weight_D) * len(weight_D) ** 0.5
        return scaled_D


def _product(module: nn.Module) -> Product:
    """Return what a linear layer does to rows, without the way there."""
    if type(module) is Prepacked and (laid_out := module.laid_out()) is not None:
        bias = module.bias
        return lambda x: _pointwise(x, laid_out, bias, "none", [], "")
    if type(module) is CodedLinear and module.bits == 4 and module.bias is None:
        codes, scales = module.packed_codes, module.padded_GN2
        if scales.shape[1] == module.outputs:
            return lambda x: _coded(x, codes, GROUP, scales)
    return module


_length: Any = torch.ops.aten.linalg_vector_norm.default
_pointwise: Any = torch.ops.mkldnn._linear_pointwise.default
_coded: Any = torch.ops.aten._weight_int4pack_mm_for_cpu.default
