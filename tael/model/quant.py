"""Make a network small: its matrices in four or eight bits, by group, from the weights alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tael.model.coded import GROUP, Bits, Blocks, CodedEmbedding, CodedLinear, grouped
from tael.model.head import VocabHead
from tael.model.network import Network
from tael.model.transformer import Embedding

__all__ = ["Smaller", "in_blocks", "put", "put_table", "put_vocabulary", "quantise"]

_SHRINKS = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8)  # of a group's range, tried for the least error


@dataclass(frozen=True)
class Smaller:
    """What was made small, and what that cost.

    `errors`: for each matrix, root mean square of the change over that of its numbers; a dtype with
    fewer digits than float32 rounds the scales on top. `kept`: the matrices that stay as they were,
    with the reason.
    """

    bits: Bits
    errors: Mapping[str, float]
    kept: Mapping[str, str]

    @property
    def error(self) -> float:
        """The middle one of the errors."""
        return sorted(self.errors.values())[len(self.errors) // 2] if self.errors else 0.0


def quantise(network: Network, bits: Bits = 4) -> Smaller:
    """Replace the matrices of a decoder's or encoder's layers in place by some of few bits.

    Token embedding and scores of tokens take eight bits also where the layers have four: of
    SmolLM2-135M, four bits there changed one in five of the likeliest tokens, eight none but
    rounding does. Norms, biases, positions and classifiers stay, as do matrices whose inputs are no
    multiple of 32. The network computes in its dtype as before; on a CPU only bfloat16 is fast.
    """
    errors: dict[str, float] = {}
    kept: dict[str, str] = {}
    for name, module in list(network.named_modules()):
        if not isinstance(module, nn.Linear) or not name.startswith("body."):
            continue
        if module.in_features % GROUP:
            kept[name] = f"its {module.in_features} inputs are no multiple of {GROUP}"
            continue
        weight = module.weight.detach()
        blocks, parts = in_blocks(weight, bits), getattr(module, "parts", ())
        errors[name] = _error(blocks.numbers(), weight)
        put(network, name, CodedLinear.of(blocks, module.bias, parts, weight.dtype))
    name, tokens = "body.embedding.tokens", network.body.embedding.tokens
    if tokens.embedding_dim % GROUP:
        kept[name] = f"its rows of {tokens.embedding_dim} are no multiple of {GROUP}"
        return Smaller(bits, errors, kept)
    weight = tokens.weight.detach()
    blocks = in_blocks(weight, 8)
    errors[name] = _error(blocks.numbers(), weight)
    if isinstance(network.head, VocabHead):
        own = network.head.weight
        scores = blocks if own is None else in_blocks(own.detach(), 8)
        put_vocabulary(network, blocks, scores, weight.dtype)
    else:
        put_vocabulary(network, blocks, None, weight.dtype)
    return Smaller(bits, errors, kept)


def in_blocks(matrix_NK: Tensor, bits: Bits) -> Blocks:
    """Return a matrix in codes; its inputs must be a multiple of 32.

    Four bits: a group's least and greatest number, drawn together a little where that makes the sum
    of squared errors less. Eight: the greatest size, both ways, so that zero stays zero.
    """
    x_NGK = grouped(matrix_NK.float())
    if bits == 8:
        scale_NG = x_NGK.abs().amax(-1) / 127
        codes_NGK = (x_NGK / _some(scale_NG)[..., None]).round() + 128
        return Blocks(8, codes_NGK.flatten(1).to(torch.uint8), scale_NG, -128 * scale_NG)
    low_NG, high_NG = x_NGK.amin(-1), x_NGK.amax(-1)
    middle_NG, half_NG = (low_NG + high_NG) / 2, (high_NG - low_NG) / 2
    best = _coded(x_NGK, middle_NG, half_NG)
    for shrink in _SHRINKS:
        tried = _coded(x_NGK, middle_NG, half_NG * shrink)
        better_NG = tried[0] < best[0]
        best = tuple(
            torch.where(better_NG[..., None] if new.dim() == 3 else better_NG, new, old)
            for new, old in zip(tried, best, strict=True)
        )
    _, codes_NGK, scale_NG, least_NG = best
    return Blocks(4, codes_NGK.flatten(1), scale_NG, least_NG)


def _coded(x_NGK: Tensor, middle_NG: Tensor, half_NG: Tensor) -> tuple[Tensor, ...]:
    """Return the sum of squared errors of each group, its codes, scale and least."""
    scale_NG, least_NG = half_NG * 2 / 15, middle_NG - half_NG
    codes_NGK = ((x_NGK - least_NG[..., None]) / _some(scale_NG)[..., None]).round().clamp(0, 15)
    error_NGK = codes_NGK * scale_NG[..., None] + least_NG[..., None] - x_NGK
    return error_NGK.square().sum(-1), codes_NGK.to(torch.uint8), scale_NG, least_NG


def _some(scale_NG: Tensor) -> Tensor:
    """Return scales to divide by: groups of one number only have none."""
    return torch.where(scale_NG == 0, 1.0, scale_NG)


def put(network: Network, name: str, module: nn.Module) -> None:
    """Put a module in the place of the one of this name."""
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def put_vocabulary(
    network: Network, tokens: Blocks, scores: Blocks | None, dtype: torch.dtype
) -> None:
    """Put small tables in the place of the token embedding and of the matrix of scores."""
    put_table(network, CodedEmbedding.of(tokens, dtype))
    if scores is not None:
        assert isinstance(network.head, VocabHead), "only such a head scores tokens"
        network.head.coded = CodedLinear.of(scores, network.head.bias, dtype=dtype)
        network.head.weight = network.head.bias = None


def put_table(network: Network, table: CodedEmbedding) -> None:
    """Put a table in the place of the token embedding, wherever it stands."""
    for module in network.modules():
        if isinstance(module, Embedding):
            module.register_module("tokens", table)


def _error(small_NK: Tensor, weight_NK: Tensor) -> float:
    change = (small_NK - weight_NK.float()).square().sum()
    return float((change / weight_NK.float().square().sum()).sqrt())
