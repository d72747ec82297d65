"""Keys and values of what has been read, kept so that each new token costs one step.

Everything is allocated at once. Local layers keep a ring of their window; the others keep all.

Letters: L layers of a kind · B rows · 2 keys and values · T new positions · S kept positions · G
heads of keys and values · K head size.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tael.model.attention import Memory, seen_by
from tael.model.batch import Batch
from tael.model.config import ModelConfig

__all__ = ["Cache"]

_SLACK = 16  # so many tokens may be written beyond a window at once, and taken back


class _Slots:
    """The places of one kind of layer: which position of its text each holds, -1 for none."""

    def __init__(self, kv_LB2GSK: Tensor, window: int | None) -> None:
        rows, size = kv_LB2GSK.shape[1], kv_LB2GSK.shape[4]
        self.kv_LB2GSK = kv_LB2GSK
        self.positions_BS = torch.full((rows, size), -1, device=kv_LB2GSK.device)
        self.size, self.window = size, window
        self.used = 0  # columns ever written; beyond `size` a ring starts again
        self.holes = False  # whether a row holds padding
        self.at: Tensor | slice = slice(0, 0)  # the columns of this pass
        # The new positions that stay, a ring keeps the last ones; (B, T) where rows differ.
        self.kept: Tensor | slice = slice(None)

    @property
    def filled(self) -> int:
        return min(self.used, self.size)

    def claim(self, positions_BT: Tensor) -> None:
        """Give columns to new positions; -1 is padding, kept and never seen."""
        length = positions_BT.shape[1]
        last = max(0, length - self.size)
        self.kept = slice(last, None)
        start, stop = self.used + last, self.used + length
        if stop <= self.size:
            self.at = slice(start, stop)
        elif self.window is None:
            raise ValueError(f"the cache holds {self.size} positions, {stop} are asked for")
        else:
            device = positions_BT.device
            self.at = torch.arange(start, stop, device=device) % self.size
        new_BT = positions_BT[:, last:]
        if self.used == 0 and self.holes and self.window is not None:
            self.kept = _text_last(positions_BT)[:, last:]
            new_BT = positions_BT.gather(1, self.kept)
        self.positions_BS[:, self.at] = new_BT
        self.used = stop

    def mask(self, queries_BT: Tensor) -> Tensor | None:
        """Say what each query sees of the filled columns, (B, 1, T, S); None: all of them."""
        keys_BS = self.positions_BS[:, : self.filled]
        inside = self.window is None or self.used <= self.window
        if queries_BT.shape[1] == 1 and inside and not self.holes:
            return None
        queries, keys = queries_BT[:, :, None], keys_BS[:, None, :]
        seen_BTS = seen_by(queries, keys, causal=True, window=self.window) & (keys >= 0)
        return seen_BTS[:, None]

    def reorder(self, rows_B: Tensor) -> None:
        """Take the rows so numbered; layer by layer where as many stay, to hold none twice."""
        if len(rows_B) != len(self.positions_BS):
            self.kv_LB2GSK = self.kv_LB2GSK[:, rows_B]
        else:
            for kv_B2GSK in self.kv_LB2GSK[..., : self.filled, :]:
                kv_B2GSK.copy_(kv_B2GSK[rows_B])
        self.positions_BS = self.positions_BS[rows_B]

    def forget(self, count: int) -> None:
        """Take back the last `count` columns of every row."""
        at = torch.arange(self.used - count, self.used, device=self.positions_BS.device)
        self.positions_BS[:, at % self.size] = -1
        self.used -= count


class _Layer:
    """One layer's keys and values; the places are those of its kind."""

    def __init__(self, slots: _Slots, number: int) -> None:
        self.slots, self.number = slots, number  # among those of its kind
        self.first = False  # whether this pass is the first: it sees its own keys, all of them
        self.read: tuple[Tensor, Tensor] | None = None

    def extend(self, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the new ones; return all that the view speaks of."""
        slots = self.slots
        k_BGSK, v_BGSK = slots.kv_LB2GSK[self.number].unbind(1)
        # What is kept is never learned through: the memory is one for all layers.
        k_BGSK[:, :, slots.at] = _taken(k_BGTK.detach(), slots.kept)
        v_BGSK[:, :, slots.at] = _taken(v_BGTK.detach(), slots.kept)
        if self.first:
            self.first = False
            return k_BGTK, v_BGTK
        return k_BGSK[:, :, : slots.filled], v_BGSK[:, :, : slots.filled]

    def source(self) -> tuple[Tensor, Tensor] | None:
        """Return the keys and values of the source, once they are known."""
        return self.read

    def keep_source(self, k_BGSK: Tensor, v_BGSK: Tensor) -> None:
        """Keep the keys and values of the source."""
        self.read = k_BGSK, v_BGSK


def _text_last(positions_BT: Tensor) -> Tensor:
    """Number the columns anew, so that each row's padding (-1) comes before its text.

    A ring gives up its oldest columns first, and those must not be a short text's.
    """
    at_T = torch.arange(positions_BT.shape[1], device=positions_BT.device)
    ends_B1 = torch.where(positions_BT >= 0, at_T + 1, 0).amax(dim=1, keepdim=True)
    return (at_T + ends_B1) % len(at_T)


def _taken(x_BGTK: Tensor, kept: Tensor | slice) -> Tensor:
    if isinstance(kept, slice):
        return x_BGTK[:, :, kept]
    at_BGTK = kept[:, None, :, None].expand(-1, x_BGTK.shape[1], -1, x_BGTK.shape[3])
    return x_BGTK.gather(2, at_BGTK)


class Cache:
    """What a decoder has read, for `rows` texts of up to `capacity` positions.

    The first pass takes any batch of one document a row; padding may stand on either side, later
    passes have none. ValueError where more positions come than there is room for.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        capacity: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        device = torch.device(device)
        depth = config.depth("decoder")
        local = [config.is_local(layer) for layer in range(depth)]
        self._slots: dict[bool, _Slots] = {}
        for kind in sorted(set(local)):
            window = config.window if kind else None
            size = capacity if window is None else min(capacity, window + _SLACK)
            shape = (local.count(kind), rows, 2, config.groups, size, config.width)
            self._slots[kind] = _Slots(torch.empty(shape, dtype=dtype, device=device), window)
        self.layers = [
            _Layer(self._slots[kind], local[:layer].count(kind)) for layer, kind in enumerate(local)
        ]
        self.memory: Memory | None = None

    def begins(self, *, local: bool) -> bool:
        """Whether the next pass is the first one, for this kind of layer."""
        return self._slots[local].used == 0

    @property
    def length(self) -> int:
        """Columns written so far, padding included."""
        return max(slots.used for slots in self._slots.values())

    def claim(
        self, batch: Batch, positions_BT: Tensor, *, local: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Make room for a pass; return the keys' positions and what each query sees of them."""
        slots = self._slots[local]
        rows = len(batch.ids_BT)
        positions_BT = positions_BT.expand(rows, -1)
        if slots.used == 0:
            for layer in self.layers:
                layer.first = layer.first or layer.slots is slots
            if batch.layout != "full":
                slots.holes = bool((batch.documents_BT == 0).any())
                positions_BT = positions_BT.masked_fill(batch.documents_BT == 0, -1)
            slots.claim(positions_BT)
            return positions_BT, None
        if slots.window is not None and positions_BT.shape[1] > _SLACK:
            raise ValueError(f"a pass after the first takes up to {_SLACK} positions")
        slots.claim(positions_BT)
        return slots.positions_BS[:, : slots.filled], slots.mask(positions_BT)

    def room(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return of each layer where a claimed pass of one position goes, and what it sees.

        Keys and values of the new position, (B, 2, G, K), to be written; then all keys and all
        values, (B, G, S, K) each: the new ones among them.
        """
        rooms: dict[bool, list[tuple[Tensor, Tensor, Tensor]]] = {}
        for kind, slots in self._slots.items():
            at = slots.at.start if isinstance(slots.at, slice) else int(slots.at)
            new = slots.kv_LB2GSK.select(4, at).unbind(0)
            both = (slots.kv_LB2GSK[:, :, n, :, : slots.filled].unbind(0) for n in (0, 1))
            rooms[kind] = list(zip(new, *both, strict=True))
        kinds = {id(slots): kind for kind, slots in self._slots.items()}
        return [rooms[kinds[id(layer.slots)]][layer.number] for layer in self.layers]

    def forget(self, count: int) -> None:
        """Take back the last `count` positions, up to 16 of them."""
        for slots in self._slots.values():
            slots.forget(count)

    def reorder(self, rows: Tensor | Sequence[int]) -> None:
        """Let row i go on from what row `rows[i]` holds; there may be more or fewer rows then."""
        at = torch.as_tensor(rows, device=self.layers[0].slots.positions_BS.device)
        for slots in self._slots.values():
            slots.reorder(at)
        for layer in self.layers:
            if layer.read is not None:
                layer.read = layer.read[0][at], layer.read[1][at]
        if self.memory is not None:
            mask = self.memory.mask
            mask = mask if mask is None or len(mask) == 1 else mask[at]
            self.memory = Memory(self.memory.x_BSD[at], mask)
