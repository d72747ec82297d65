"""Beam search: the likeliest whole text that a search of a fixed width finds.

The scores, what counts as finished and when the search gives up are those of transformers, float32
sums included, so that both find the same texts.

Letters: P prompts · K beams · C candidates · B = P · K rows · V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tael.errors import UsageError
from tael.model.generate import Request, Row, Written
from tael.model.network import Network
from tael.model.reader import Reader, room
from tael.model.sample import ruled
from tael.model.settings import Settings

__all__ = ["search"]

_NEVER = -1e9  # a score that loses against every text's, and can still be added to


@dataclass
class _Prompt:
    """One prompt's search: its texts as far as they go, and the best that have ended."""

    number: int
    begin: list[int]  # what the decoder starts from
    most: int  # tokens that may be written
    running: list[list[int]]  # K texts, what was written
    scores_K: Tensor
    ended: list[tuple[float, list[int]]] = field(default_factory=list)  # best first, up to K


@torch.inference_mode()
def search(
    network: Network, requests: Sequence[Request], tokenizer: Tokenizer | None = None
) -> list[Written]:
    """Write the `n` best texts of each request, the best first; settings are those of the first.

    A text that ends leaves a place to the next best; a prompt whose search is over costs no more.
    UsageError where more texts are asked for than there are beams, or a text is constrained.
    """
    settings = requests[0].settings
    beams = settings.beams
    if any(request.n > beams or request.constraint is not None for request in requests):
        raise UsageError(f"generate: {beams} beams give up to {beams} texts, and take no schema")
    prompts = [_begun(network, *at) for at in enumerate(requests)]
    more = max(prompt.most for prompt in prompts)
    reader = Reader(network, [r.ids for r in requests], more, settings.start)
    reader.select([p for p in range(len(prompts)) for _ in range(beams)])
    done: dict[int, _Prompt] = {}
    while prompts:
        parents_PK = _step(prompts, reader.logits_BV, settings)
        rows, going = [], []
        for n, (prompt, parents) in enumerate(zip(prompts, parents_PK, strict=True)):
            if _over(prompt, settings):
                done[prompt.number] = prompt
            else:
                going.append(prompt)
                rows += [n * beams + parent for parent in parents]
        prompts = going
        if prompts:
            reader.select(rows)
            reader.read([[text[-1]] for prompt in prompts for text in prompt.running])
    return [
        _written(network, requests[number], done[number], sample, tokenizer)
        for number in range(len(requests))
        for sample in range(requests[number].n)
    ]


def _begun(network: Network, number: int, request: Request) -> _Prompt:
    settings = request.settings
    both = network.config.stacks == "both"
    begin = [settings.start or 0] if both else list(request.ids)
    # All but one beam begin hopeless: else all would write the same.
    scores_K = torch.full((settings.beams,), _NEVER)
    scores_K[0] = 0
    most = room(network, request.ids, settings)
    return _Prompt(number, begin, most, [[] for _ in range(settings.beams)], scores_K)


def _step(prompts: list[_Prompt], logits_BV: Tensor, settings: Settings) -> list[list[int]]:
    """Let every beam go on by a token; return which beam each of the new ones comes from."""
    logprobs_BV = logits_BV.float().log_softmax(dim=-1).cpu()
    if settings.ruled:
        texts = [(prompt, text) for prompt in prompts for text in prompt.running]
        logprobs_BV = torch.stack(
            [
                ruled(
                    row_V, prompt.begin + text, len(text), replace(settings, max_tokens=prompt.most)
                )
                for row_V, (prompt, text) in zip(logprobs_BV, texts, strict=True)
            ]
        )
    vocab, ends = logprobs_BV.shape[-1], {*settings.end, *settings.stop_ids}
    scores_PK = torch.stack([prompt.scores_K for prompt in prompts])
    sums_PC = (logprobs_BV.view(*scores_PK.shape, vocab) + scores_PK[:, :, None]).flatten(1)
    # So many that enough go on even where every beam's likeliest tokens are the ends.
    best_PC, at_PC = sums_PC.topk(min(max(2, 1 + len(ends)) * settings.beams, sums_PC.shape[1]))
    parents = []
    for prompt, best_C, at in zip(prompts, best_PC, at_PC.tolist(), strict=True):
        texts_C = [[*prompt.running[n // vocab], n % vocab] for n in at]
        full = len(texts_C[0]) >= prompt.most
        ended_C = torch.tensor([full or text[-1] in ends for text in texts_C])
        _keep_ended(prompt, texts_C, ended_C, best_C, settings)
        scores_C = best_C + ended_C.float() * _NEVER
        prompt.scores_K, chosen_K = scores_C.topk(settings.beams)
        prompt.running = [texts_C[n] for n in chosen_K.tolist()]
        parents.append([at[n] // vocab for n in chosen_K.tolist()])
    return parents


def _keep_ended(
    prompt: _Prompt,
    texts_C: list[list[int]],
    ended_C: Tensor,
    best_C: Tensor,
    settings: Settings,
) -> None:
    """Take up texts that ended among the K best; the others are there to go on from."""
    final = (best_C / len(texts_C[0]) ** settings.length_penalty).tolist()
    for n in range(min(settings.beams, len(texts_C))):
        if ended_C[n]:
            prompt.ended.append((final[n], texts_C[n]))
    prompt.ended.sort(key=lambda scored: -scored[0])
    del prompt.ended[settings.beams :]


def _over(prompt: _Prompt, settings: Settings) -> bool:
    """Whether no text that goes on is worth it."""
    written = len(prompt.running[0])
    if written >= prompt.most:
        return True
    if len(prompt.ended) < settings.beams:
        return False
    if settings.early_stopping is True:
        return True
    # A score can only fall, unless a length penalty lifts that of a long text.
    hopeful = settings.early_stopping == "never" and settings.length_penalty > 0
    length = prompt.most if hopeful else written
    best = prompt.scores_K[0] / length**settings.length_penalty
    return not bool(best > prompt.ended[-1][0])


def _written(
    network: Network, request: Request, prompt: _Prompt, sample: int, tokenizer: Tokenizer | None
) -> Written:
    row = Row(network, request, prompt.number, sample, tokenizer)
    score, text = prompt.ended[sample]
    for id_ in text:
        row.take(id_)
    return row.finished(score)
