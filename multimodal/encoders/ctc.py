"""Connectionist temporal classification over characters (Graves et al., 2006): what the audio tower is pretrained with.

The head stays with the tower: its greedy reading is a draft that the decoder edits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

ALPHABET = " 'abcdefghijklmnopqrstuvwxyz"
"""Characters that can be read; class 0 is the blank, class i + 1 is ALPHABET[i]."""
BLANK = 0
CTC_HEAD = "ctc_head.safetensors"
"""Its file in an encoder's folder."""


class CTCHead(nn.Module):
    """Characters of states, one distribution a state."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(hidden_size, len(ALPHABET) + 1)

    def forward(self, states: Tensor) -> Tensor:
        """Logits [b, n, characters + blank] of states [b, n, d]."""
        logits: Tensor = self.read(states)
        return logits


def to_labels(text: str) -> list[int]:
    """Classes of a text's characters: lower case, unknown characters as spaces, spaces collapsed."""
    known = "".join(character if character in ALPHABET else " " for character in text.lower())
    return [ALPHABET.index(character) + 1 for character in " ".join(known.split())]


def ctc_loss(logits: Tensor, mask: Tensor, labels: Sequence[Sequence[int]]) -> Tensor:
    """Mean over the batch of -log p(labels | states) per label, over [b, n, classes] and [b, n].

    Clips with more labels than states have no path; they count as zero.
    """
    lengths = torch.tensor([len(row) for row in labels])
    flat = torch.tensor([label for row in labels for label in row])
    log_probs = functional.log_softmax(logits.float(), dim=-1).transpose(0, 1)  # [n, b, classes]
    return functional.ctc_loss(log_probs, flat.to(logits.device), mask.sum(1), lengths, blank=BLANK, zero_infinity=True)


def greedy_texts(logits: Tensor, mask: Tensor) -> list[str]:
    """The likeliest class of every real state, repeats merged and blanks dropped: one text per row."""
    texts = []
    for classes, real in zip(logits.argmax(-1), mask, strict=True):
        path = torch.unique_consecutive(classes[real]).tolist()
        texts.append(" ".join("".join(ALPHABET[label - 1] for label in path if label != BLANK).split()))
    return texts
