"""The autoregressive twin: how a canvas becomes a sequence that is read left to right, and how one is written.

    caption, transcribe, denoise, restyle      [start] text [end]
    infill                                     text with one mark per gap, padding [start] filling [end] filling [end]

The mark of a gap and the start are the mask token, the end is the padding token: the twin has the diffusion decoder's
vocabulary, blocks and condition, and no parameter more. Fillings come after the text that they belong into (fill in
the middle, Bavarian et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.decoder import TextCache
from multimodal.diffusion.samplers.base import gumbel
from multimodal.tasks import GAP_SLOTS, LENGTH_BUCKET, Canvas

NextToken = Callable[[Tensor, Tensor, TextCache], Tensor]
"""(tokens [rows, new], indices of those rows in the batch [rows], what they have read) -> logits [rows, vocab]."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Texts as a causal decoder reads them in training, padded to one length.

    Args:
        inputs: int64 [batch, length].
        targets: int64 [batch, length], the next token of each position.
        scored: bool [batch, length], positions whose next token is to be learnt.
    """

    inputs: Tensor
    targets: Tensor
    scored: Tensor


def prompt(canvas: Canvas, mask: int, pad: int) -> list[int]:
    """What a text's writing starts from, the start included.

    A text with gaps is padded to a multiple of `LENGTH_BUCKET`, so that texts of many lengths can be written together.
    """
    if not canvas.gaps:
        return [mask]
    tokens: list[int] = []
    position = 0
    for start, end in canvas.gaps:
        tokens += [*canvas.tokens[position:start], mask]
        position = end
    tokens += [token for token in canvas.tokens[position:] if token != pad]
    return [*tokens, *[pad] * (-(len(tokens) + 1) % LENGTH_BUCKET), mask]


def answer(canvas: Canvas, pad: int) -> list[int]:
    """What follows the prompt of a clean canvas: the text, or the filling of each gap, every one with its end."""
    spans = canvas.gaps or ((0, len(canvas.tokens)),)
    tokens: list[int] = []
    for start, end in spans:
        tokens += [*(token for token in canvas.tokens[start:end] if token != pad), pad]
    return tokens


def room(max_canvas: int) -> int:
    """Positions that prompt and answer of any canvas need at most."""
    return -(-max_canvas // LENGTH_BUCKET) * LENGTH_BUCKET + 2 * (GAP_SLOTS + 1)


def sequences(canvases: Sequence[Canvas], mask: int, pad: int) -> Sequences:
    """Clean canvases as a causal decoder reads them."""
    prompts = [prompt(canvas, mask, pad) for canvas in canvases]
    answers = [answer(canvas, pad) for canvas in canvases]
    length = max(len(p) + len(a) - 1 for p, a in zip(prompts, answers, strict=True))
    inputs, targets = torch.full((len(canvases), length), pad), torch.full((len(canvases), length), pad)
    scored = torch.zeros(len(canvases), length, dtype=torch.bool)
    for row, (start, rest) in enumerate(zip(prompts, answers, strict=True)):
        whole = torch.tensor(start + rest)
        inputs[row, : len(whole) - 1] = whole[:-1]
        targets[row, : len(whole) - 1] = whole[1:]
        scored[row, len(start) - 1 : len(whole) - 1] = True
    return Sequences(inputs, targets, scored)


@dataclass(frozen=True, slots=True)
class Written:
    """One text as it was written.

    Args:
        tokens: ids after the prompt, ends included.
        confidence: probability of each.
        nfe: calls of the decoder.
    """

    tokens: list[int]
    confidence: list[float]
    nfe: int


def filled(canvas: Canvas, written: Written, pad: int) -> tuple[list[int], list[float]]:
    """The canvas with an answer written into it, and its confidences; what does not fit into a gap is cut off.

    Given tokens and padding that nobody wrote have confidence 1.
    """
    tokens, confidence = list(canvas.tokens), [1.0] * len(canvas.tokens)
    position = 0
    for start, end in canvas.gaps or ((0, len(canvas.tokens)),):
        tokens[start:end] = [pad] * (end - start)
        slot = start
        while position < len(written.tokens):
            if slot < end:
                tokens[slot], confidence[slot] = written.tokens[position], written.confidence[position]
            slot, position = slot + 1, position + 1
            if written.tokens[position - 1] == pad:
                break
    return tokens, confidence


@dataclass(frozen=True, slots=True)
class AutoregressiveSampler:
    """Writes left to right, one token a call: greedy, drawn, or by beam search.

    Args:
        mask_token_id: never written.
        end_token_id: ends a text or a filling.
        max_tokens: most tokens of one text, ends included.
        temperature: 0 takes the likeliest token; above, tokens are drawn from softmax(logits / temperature).
        beams: hypotheses that are kept; above 1 only at temperature 0.
    """

    mask_token_id: int
    end_token_id: int
    max_tokens: int
    temperature: float = 0.0
    beams: int = 1

    @torch.no_grad()
    def sample(
        self,
        next_token: NextToken,
        prompts: Tensor,
        ends: Sequence[int],
        cache: TextCache,
        generators: Sequence[torch.Generator] | None = None,
    ) -> list[Written]:
        """Write the answer of each prompt, int64 [batch, length].

        Args:
            next_token: logits after the last of the given tokens.
            prompts: of one length.
            ends: how many ends each answer has: 1, or its number of gaps.
            cache: empty, of the same rows.
            generators: one per row, needed at a temperature above 0.
        """
        if self.beams > 1:
            return self._beam_search(next_token, prompts, ends, cache)
        written = [Written([], [], 0) for _ in prompts]
        left = torch.tensor(list(ends), device=prompts.device)
        rows, tokens = torch.arange(len(prompts), device=prompts.device), prompts
        pieces: list[tuple[list[int], list[int], list[float]]] = []
        for _ in range(self.max_tokens):
            noise = [generators[row] for row in rows.tolist()] if generators else None
            chosen, probability = self._choose(self._logits(next_token, tokens, rows, cache), noise)
            pieces.append((rows.tolist(), chosen.tolist(), probability.tolist()))
            left[rows] -= (chosen == self.end_token_id).long()
            going = (left[rows] > 0).nonzero().squeeze(-1)
            if not len(going):
                break
            if len(going) < len(rows):
                rows, chosen, cache = rows[going], chosen[going], cache.rows(going)
            tokens = chosen[:, None]
        for indices, ids, probabilities in pieces:
            for row, token, sureness in zip(indices, ids, probabilities, strict=True):
                written[row].tokens.append(token)
                written[row].confidence.append(sureness)
        return [Written(text.tokens, text.confidence, len(text.tokens)) for text in written]

    def _logits(self, next_token: NextToken, tokens: Tensor, rows: Tensor, cache: TextCache) -> Tensor:
        logits = next_token(tokens, rows, cache).float()
        logits[:, self.mask_token_id] = -torch.inf
        return logits

    def _choose(self, logits: Tensor, generators: Sequence[torch.Generator] | None) -> tuple[Tensor, Tensor]:
        probs = logits.softmax(-1)
        if self.temperature == 0 or generators is None:
            probability, chosen = probs.max(-1)
            return chosen, probability
        noise = gumbel(logits.shape[1:], generators).to(logits.device)
        chosen = (logits.double() / self.temperature + noise).argmax(-1)
        return chosen, probs.gather(-1, chosen[:, None]).squeeze(-1)

    def _beam_search(
        self, next_token: NextToken, prompts: Tensor, ends: Sequence[int], cache: TextCache
    ) -> list[Written]:
        """Keep the `beams` likeliest beginnings; of what is finished, the one with the likeliest mean token wins."""
        batch, beams, device = len(prompts), self.beams, prompts.device
        rows = torch.arange(batch, device=device)
        left = torch.tensor(list(ends), device=device)[:, None].expand(-1, beams).clone()  # [batch, beams]
        totals = torch.full((batch, beams), -torch.inf, device=device)
        totals[:, 0] = 0.0  # all beams begin alike: only one of them may branch
        texts = torch.zeros(batch, beams, 0, dtype=torch.long, device=device)
        logs = torch.zeros(batch, beams, 0, device=device)
        logits = self._logits(next_token, prompts, rows, cache)
        cache = cache.rows(rows.repeat_interleave(beams))
        log_probs = logits.log_softmax(-1)[:, None].expand(-1, beams, -1)
        for length in range(1, self.max_tokens + 1):
            vocab = log_probs.shape[-1]
            done = left == 0
            # A finished beam goes on with its end at no cost, so that it keeps its place while it is among the best.
            stay = torch.full((vocab,), -torch.inf, device=device)
            stay[self.end_token_id] = 0.0
            step = torch.where(done[..., None], stay, log_probs)  # [batch, beams, vocab]
            totals, flat = (totals[..., None] + step).flatten(1).topk(beams, -1)
            origin, token = flat // vocab, flat % vocab
            texts = torch.cat([texts.gather(1, origin[..., None].expand_as(texts)), token[..., None]], -1)
            gained = step.flatten(1).gather(1, flat)[..., None]
            logs = torch.cat([logs.gather(1, origin[..., None].expand_as(logs)), gained], -1)
            left = left.gather(1, origin)
            left = torch.where(left > 0, left - (token == self.end_token_id).long(), left)
            if not left.any() or length == self.max_tokens:
                break
            index = (origin + torch.arange(batch, device=device)[:, None] * beams).flatten()
            cache = cache.rows(index)
            repeated = rows.repeat_interleave(beams)
            logits = self._logits(next_token, token.flatten()[:, None], repeated, cache)
            log_probs = logits.log_softmax(-1).view(batch, beams, vocab)
        return [self._best(texts[row], logs[row], ends[row]) for row in range(batch)]

    def _best(self, texts: Tensor, logs: Tensor, ends: int) -> Written:
        candidates = []
        for text, log in zip(texts.tolist(), logs.tolist(), strict=True):
            positions = [index for index, token in enumerate(text) if token == self.end_token_id]
            length = positions[ends - 1] + 1 if len(positions) >= ends else len(text)
            candidates.append((sum(log[:length]) / length, text[:length], log[:length]))
        _, tokens, scores = max(candidates, key=lambda candidate: candidate[0])
        return Written(tokens, torch.tensor(scores).exp().tolist(), texts.shape[-1] * self.beams)
