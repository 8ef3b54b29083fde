"""Simplex diffusion, half autoregressive: noise on near one-hot logits, one block of text after the other.

(SSD-LM, Han et al. 2022.)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from multimodal.diffusion.continuous.randomness import Randomness, RowRandomness
from multimodal.diffusion.continuous.text import (
    Corrupted,
    Reading,
    TextDiffusion,
    TextSampling,
    VectorDenoiser,
    choose_tokens,
)
from multimodal.diffusion.samplers.base import SamplerOutput


class SimplexDiffusion(TextDiffusion):
    """A token is `scale` at its own place and -`scale` at all others; noise of that size is added, and the network sees
    the softmax. At time t the shares of signal and noise are cos and sin of pi t / 2.

    Open positions are cut into blocks, from the left. While a block is diffused, those before it are text and those
    after it are masks: the paper's context ends with the block, but masks tell how long a text may become, and text
    after a gap stays visible.

    Args:
        mask_token_id: stands where text is to be written.
        pad_token_id: a text that is open as a whole ends with it, and no further block of it is written.
        vocab_size: width of the simplex.
        block_size: positions of a block.
        scale: K.
    """

    def __init__(
        self, mask_token_id: int, pad_token_id: int, vocab_size: int, block_size: int = 25, scale: float = 5.0
    ) -> None:
        super().__init__(mask_token_id)
        self.pad_token_id, self.vocab_size = pad_token_id, vocab_size
        self.block_size, self.scale = block_size, scale

    def corrupt(self, x_0: Tensor, t: Tensor, open_positions: Tensor, randomness: Randomness) -> Corrupted:
        """As in `TextDiffusion.corrupt`; of each row one block, by chance, is diffused and learnt."""
        blocks = self.blocks(open_positions)
        chosen = (randomness.uniform(x_0.to(t)) * (blocks.amax(-1) + 1)).long()[:, None]
        diffused = open_positions & (blocks == chosen)
        tokens = torch.where(blocks > chosen, self.mask_token_id, x_0)
        clean = self._logits(x_0)
        angle = (torch.pi / 2 * t)[:, None, None]
        x_t = angle.cos() * clean + angle.sin() * self.scale * randomness.normal(clean)
        return self._seen(x_t, tokens, t[:, None], diffused)

    def read(self, output: Tensor) -> Reading:
        """As in `TextDiffusion.read`; the estimate is the probabilities."""
        logits = self.without_mask(output)
        return Reading(logits, logits.softmax(-1))

    def sample(
        self, denoiser: VectorDenoiser, canvas: Tensor, generators: Sequence[torch.Generator], how: TextSampling
    ) -> SamplerOutput:
        """As in `TextDiffusion.sample`; the steps are shared out among the blocks of the canvas, each at least one.

        Predictor and corrector are not used: every step predicts the text and noises it afresh (SSD-LM, algorithm 2).
        """
        open_positions = canvas == self.mask_token_id
        blocks = self.blocks(open_positions)
        tokens, confidence = canvas.clone(), torch.ones(canvas.shape, device=canvas.device)
        nfe = torch.zeros(len(canvas), dtype=torch.long)
        trajectory = [canvas.cpu().clone()] if how.keep_trajectory else []
        steps = max(1, how.num_steps // -(-canvas.shape[1] // self.block_size))
        for block in range(int(blocks.amax()) + 1):
            rows = ((blocks == block).any(-1) & ~self._ended(tokens, open_positions)).nonzero().squeeze(-1)
            if not len(rows):
                continue
            diffused, randomness = blocks[rows] == block, RowRandomness(generators).rows(rows)
            x, estimate = self.scale * randomness.normal(self._logits(tokens[rows])), None
            for step in range(steps):
                t, s = (torch.tensor(1 - index / steps, device=canvas.device) for index in (step, step + 1))
                seen = self._seen(x, tokens[rows], t, diffused)
                reading = self.read(denoiser(seen.vectors, estimate, seen.noise, rows))
                chosen, probability = choose_tokens(reading.logits, how.temperature, randomness.generators)
                estimate, angle = reading.estimate, torch.pi / 2 * s
                x = angle.cos() * self._logits(chosen) + angle.sin() * self.scale * randomness.normal(x)
                nfe[rows.cpu()] += 1
                if how.keep_trajectory:
                    trajectory.append(_put(tokens, rows, torch.where(diffused, chosen, tokens[rows])).cpu())
            tokens = _put(tokens, rows, torch.where(diffused, chosen, tokens[rows]))
            confidence = _put(confidence, rows, torch.where(diffused, probability, confidence[rows]))
        tokens = torch.where(tokens == self.mask_token_id, self.pad_token_id, tokens)
        return SamplerOutput(tokens, confidence.cpu(), nfe, tuple(trajectory))

    def blocks(self, open_positions: Tensor) -> Tensor:
        """Block of each open position, from 0; -1 where text is given. int64 [batch, length]."""
        return torch.where(open_positions, (open_positions.cumsum(-1) - 1) // self.block_size, -1)

    def _ended(self, tokens: Tensor, open_positions: Tensor) -> Tensor:
        """bool [batch]: rows whose text is over."""
        return open_positions.all(-1) & (tokens == self.pad_token_id).any(-1)

    def _seen(self, x_t: Tensor, tokens: Tensor, t: Tensor, diffused: Tensor) -> Corrupted:
        """What a denoiser sees: the softmax of noisy logits in the block, text and masks around it."""
        around = functional.one_hot(tokens, self.vocab_size).to(x_t)
        vectors = torch.where(diffused[..., None], x_t.softmax(-1), around)
        noise = torch.where(diffused, t, (tokens == self.mask_token_id).to(x_t))
        return Corrupted(vectors, noise, diffused)

    def _logits(self, tokens: Tensor) -> Tensor:
        return self.scale * (2.0 * functional.one_hot(tokens, self.vocab_size) - 1)


def _put(values: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """A copy of `values` with some rows replaced."""
    return values.index_copy(0, rows, new)
