"""What comes next: scores bent by penalties and bans, narrowed, and one token drawn.

Letters: B rows · V vocabulary · K candidates.
"""

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tael.model.settings import Settings

__all__ = ["Candidates", "candidates", "draw", "ruled"]

_FEW = 1024
Candidates = tuple[Tensor, Tensor | None]  # shares (B, K), and their ids, None: 0 to V - 1


def ruled(scores_V: Tensor, ids: Sequence[int], written: int, settings: Settings) -> Tensor:
    """Return the scores after penalties and bans; a token that may not come has -inf.

    `ids` is all that the decoder has read, of which the last `written` are its own. In the order of
    transformers: what is forced comes last and so wins over what is banned.
    """
    scores_V = _penalised(scores_V, ids, written, settings)
    for ban in _bans(ids, written, settings):
        # Files name end tokens of larger vocabularies, too.
        scores_V[[id_ for id_ in ban if id_ < len(scores_V)]] = -torch.inf
    forced: tuple[int, ...] = ()
    if settings.forced_first is not None and len(ids) == 1:
        forced = (settings.forced_first,)
    if settings.forced_last and written == settings.max_tokens - 1:
        forced = settings.forced_last
    if forced:
        scores_V = torch.full_like(scores_V, -torch.inf)
        scores_V[list(forced)] = 0
    return scores_V


def _penalised(scores_V: Tensor, ids: Sequence[int], written: int, settings: Settings) -> Tensor:
    """Return a copy with the penalties taken off."""
    scores_V = scores_V.clone()
    if settings.repetition_penalty != 1.0:
        seen = torch.tensor(sorted(set(ids)), device=scores_V.device)
        old, penalty = scores_V[seen], settings.repetition_penalty
        scores_V[seen] = torch.where(old < 0, old * penalty, old / penalty)
    if (settings.presence_penalty or settings.frequency_penalty) and written:
        times = Counter(ids[-written:])
        counts = torch.tensor(list(times.values()), dtype=scores_V.dtype, device=scores_V.device)
        off = settings.presence_penalty + settings.frequency_penalty * counts
        scores_V[list(times)] -= off
    return scores_V


def _bans(ids: Sequence[int], written: int, settings: Settings) -> list[list[int]]:
    bans = []
    size = settings.no_repeat_ngram
    if size and len(ids) >= size:
        before = tuple(ids[len(ids) - size + 1 :])
        starts = range(len(ids) - size + 1)
        bans.append([ids[n + size - 1] for n in starts if tuple(ids[n : n + size - 1]) == before])
    bans.append(
        [run[-1] for run in settings.banned if tuple(ids[len(ids) - len(run) + 1 :]) == run[:-1]]
    )
    if written < settings.min_tokens or len(ids) < settings.min_length:
        bans.append([*settings.end, *settings.stop_ids])
    return [ban for ban in bans if ban]


def candidates(logits_BV: Tensor, settings: Settings) -> Candidates:
    """Return what may be drawn at a temperature above 0 and with which share.

    Top-k: Fan et al. 2018, arXiv:1805.04833; top-p: Holtzman et al. 2020, arXiv:1904.09751; min-p:
    Nguyen et al. 2024, arXiv:2407.01082.
    """
    scores_BV = logits_BV.float() / settings.temperature
    share = 1.0 if settings.top_p is None else settings.top_p
    ids_BK = None
    if settings.top_k is not None and settings.top_k < scores_BV.shape[-1]:
        scores_BK, ids_BK = scores_BV.topk(settings.top_k, dim=-1)  # sorted, the likeliest first
        shares_BK = scores_BK.softmax(dim=-1)
    elif share < 1:
        shares_BK, ids_BK = _likeliest(scores_BV.softmax(dim=-1), share)
    else:
        shares_BK = scores_BV.softmax(dim=-1)
    if share < 1:
        before_BK = shares_BK.cumsum(dim=-1) - shares_BK
        shares_BK = _without(shares_BK, before_BK >= share)
    if settings.min_p:
        least_B1 = settings.min_p * shares_BK.amax(dim=-1, keepdim=True)
        shares_BK = _without(shares_BK, shares_BK < least_B1)
    return shares_BK, ids_BK


def _likeliest(shares_BV: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Return so many of the likeliest, sorted, that they have at least this share together.

    To sort a vocabulary of 50,000 takes about 10 ms a row; a thousand are nearly always enough.
    """
    vocab = shares_BV.shape[-1]
    few_BK, ids_BK = shares_BV.topk(min(_FEW, vocab), dim=-1)
    short_B1 = few_BK.sum(dim=-1, keepdim=True) < share
    if len(few_BK[0]) == vocab or not bool(short_B1.any()):
        return few_BK, ids_BK
    # Row by row, so that no row's order depends on its neighbours.
    all_BV, order_BV = shares_BV.topk(vocab, dim=-1)
    more = (0, vocab - _FEW)
    return (
        torch.where(short_B1, all_BV, F.pad(few_BK, more)),
        torch.where(short_B1, order_BV, F.pad(ids_BK, more)),
    )


def _without(shares_BK: Tensor, gone_BK: Tensor) -> Tensor:
    kept_BK = shares_BK.masked_fill(gone_BK, 0)
    return kept_BK / kept_BK.sum(dim=-1, keepdim=True)


def draw(found: Candidates, luck_B: Sequence[float]) -> list[int]:
    """Return one id a row: the first whose shares add up to more than the row's number in [0, 1).

    One number a row and token, so that what a row draws does not depend on its neighbours.
    """
    shares_BK, ids_BK = found
    sums_BK = shares_BK.double().cumsum(dim=-1)  # float32 would lose the tail of a big vocabulary
    luck_B1 = torch.tensor(luck_B, dtype=torch.float64, device=sums_BK.device)[:, None]
    at_B1 = torch.searchsorted(sums_BK, luck_B1 * sums_BK[:, -1:], right=True)
    at_B1 = at_B1.clamp(max=sums_BK.shape[-1] - 1)
    drawn: list[int] = (at_B1 if ids_BK is None else ids_BK.gather(1, at_B1))[:, 0].tolist()
    return drawn
