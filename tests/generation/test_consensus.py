"""The choice among candidates: by agreement, and by the picture."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from multimodal.errors import RequestError
from multimodal.generation import Request
from multimodal.generation.consensus import most_agreeable, most_fitting, ngram_f1, picture_of
from multimodal.sample import Task
from multimodal.training.options import SamplerOptions


def test_overlap_counts_words_and_pairs() -> None:
    """Two of three words and one of two pairs are shared: 2 * 3 / (5 + 5)."""
    assert ngram_f1("a red circle", "a red square") == pytest.approx(6 / 10)
    assert ngram_f1("a a", "a") == pytest.approx(2 / 4)


def test_overlap_at_both_ends() -> None:
    """Equal texts, empty ones too, have 1, disjoint ones 0."""
    assert ngram_f1("a red circle", "a red circle") == ngram_f1("", "") == 1
    assert ngram_f1("a red circle", "turn left") == ngram_f1("a", "") == 0


def test_the_odd_one_out_is_not_chosen() -> None:
    """The text that shares most with the others wins, wherever it stands."""
    texts = ["go home now", "a red circle on sand", "a red circle on grass", "a blue circle on grass"]
    assert most_agreeable(texts) == 2
    assert most_agreeable(texts[::-1]) == 1


def test_ties_go_to_the_first() -> None:
    """So that one candidate, and equal ones, need no rule of their own."""
    assert most_agreeable(["alone"]) == most_agreeable(["same", "same", "same"]) == 0


VECTORS = {"a red circle": (1.0, 0.0), "a blue circle": (0.0, 1.0), "grass": (0.6, 0.8)}


def embed(texts: Sequence[str]) -> Tensor:
    return torch.tensor([VECTORS[text] for text in texts])


def test_the_picture_chooses() -> None:
    """The text of the nearest vector wins, of equal ones the first, whatever the others agree on."""
    texts = ["a blue circle", "grass", "a blue circle", "a red circle"]
    assert most_fitting(texts, np.array([3.0, 0.1]), embed) == 3
    assert most_fitting(texts, np.array([0.0, 0.5]), embed) == 0
    assert most_fitting(texts, np.array([0.6, 0.8]), embed) == 1


def test_only_pictures_choose() -> None:
    """Candidates of sounds, and of no picture at all, are chosen by agreement; a picture needs its model."""
    options = SamplerOptions(candidates=2, temperature=1.0, rerank="clip")
    latents, pooled = np.ones((2, 3), np.float32), np.ones(2, np.float32)
    pictured = Request("r", Task.CAPTION, latents, pooled=pooled)
    assert picture_of(pictured, options, embed) is pooled
    assert picture_of(pictured, options.model_copy(update={"rerank": "agreement"}), embed) is None
    assert picture_of(Request("r", Task.TRANSCRIBE, latents, pooled=pooled), options, embed) is None
    assert picture_of(Request("r", Task.CAPTION), options, None) is None
    for request, tower in ((pictured, None), (Request("r", Task.CAPTION, latents), embed)):
        with pytest.raises(RequestError, match="name it when you predict"):
            picture_of(request, options, tower)
