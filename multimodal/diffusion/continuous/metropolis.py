"""The Metropolis rule: a proposal is kept or refused so that a wanted density is left as it is.

(Metropolis et al. 1953; Hastings 1970.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multimodal.diffusion.continuous.randomness import Randomness


@dataclass(frozen=True, slots=True)
class Moved:
    """Rows after a proposal.

    Args:
        x: [rows, ...], moved or as before.
        accepted: bool [rows].
    """

    x: Tensor
    accepted: Tensor


def accept(x: Tensor, proposal: Tensor, log_ratio: Tensor, randomness: Randomness) -> Moved:
    """Move each row to its proposal with probability min(1, exp(log_ratio)).

    Args:
        x, proposal: [rows, ...].
        log_ratio: [rows], log of density times backward over density times forward probability of the move; a row
            where it is not a number stays.
        randomness: of the rows.
    """
    accepted = randomness.uniform(x).log() < log_ratio
    return Moved(torch.where(accepted.reshape(-1, *[1] * (x.ndim - 1)), proposal, x), accepted)


def log_density_difference(
    score: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, score_x: Tensor, score_y: Tensor
) -> Tensor:
    """log p(y) - log p(x) for each row, [rows], where only the score is known: its integral along the straight move.

    By Simpson's rule, one further call of the score: exact where the log-density is a quartic along the move. A
    learnt score need not be the gradient of anything, and then the integral, and with it what a Metropolis rule
    keeps, depends on the path: the rule is exact for exact scores and a good correction for learnt ones.

    Args:
        score: at the time in question, [rows, ...] -> [rows, ...].
        x, y: [rows, ...].
        score_x, score_y: the score there.
    """
    along_move = (score_x + 4 * score((x + y) / 2) + score_y) / 6
    return ((y - x) * along_move).flatten(1).sum(-1)
