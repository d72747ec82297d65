"""ONNX in float32 to int8: weights once, per output channel; activations as they come."""

import contextlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path

__all__ = ["needs_reduced_range", "quantize_onnx"]


def quantize_onnx(source: Path, path: Path, *, reduce_range: bool) -> None:
    """Write the dynamic int8 form of the graph `source` to `path`.

    Weights become int8 with a scale per output channel. Activations take one scale per tensor, so
    texts computed together change each other's scores: such a variant is run one text at a time.
    `reduce_range` keeps weights to 7 bits (see `needs_reduced_range`).
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(source)
    # The exporter's value_info names shapes from before constants were folded; onnx's shape
    # inference, which the quantizer starts with, refuses the contradiction (seen: onnx 1.23).
    del graph.graph.value_info[:]
    with _quiet():
        quantize_dynamic(
            graph,
            path,
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
        )


def needs_reduced_range(flags: Collection[str]) -> bool:
    """Say whether int8 products can overflow on a machine with these instruction sets.

    Without VNNI or AMX, u8 x s8 products are summed in pairs in 16 bits (vpmaddubsw), and
    2 x 255 x 127 = 64,770 saturates at 32,767; 7-bit weights keep the pair within it.
    """
    return not any("vnni" in flag or flag == "amx_int8" for flag in flags)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the advice to pre-process, which is for graphs with convolutions."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
