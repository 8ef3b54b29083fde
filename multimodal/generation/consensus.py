"""The choice among several texts drawn for one sample: the one most like the others, or most like the picture."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from multimodal.errors import RequestError
from multimodal.generation.text import Generation, Request
from multimodal.sample import Modality
from multimodal.training.options import SamplerOptions

EmbedTexts = Callable[[Sequence[str]], Tensor]
"""Texts -> normalised vectors [texts, d] of the space that pictures' pooled vectors lie in."""


def picture_of(request: Request, options: SamplerOptions, embed_texts: EmbedTexts | None) -> np.ndarray | None:
    """The embedding of the picture that a request's candidates are chosen by, None where their agreement decides.

    Raises:
        RequestError: they are to be chosen by a picture, and no CLIP model is at hand.
    """
    pictured = request.task.modality is Modality.IMAGE and request.hidden_states is not None
    if options.rerank == "agreement" or options.candidates == 1 or not pictured:
        return None
    if embed_texts is None or request.pooled is None:
        raise RequestError(
            "rerank: clip needs the image encoder's embeddings of pictures and texts, which predictions have at hand "
            "and scores from stored latents have not: name it when you predict, not in the configuration"
        )
    return request.pooled


def choose(
    candidates: Sequence[Generation], picture: np.ndarray | None = None, embed_texts: EmbedTexts | None = None
) -> Generation:
    """One of a sample's candidates, with the calls of all: by the picture where there is one, else by agreement."""
    texts = [candidate.text for candidate in candidates]
    if picture is None or embed_texts is None:
        index = most_agreeable(texts)
    else:
        index = most_fitting(texts, picture, embed_texts)
    calls = sum(candidate.nfe for candidate in candidates)
    return replace(candidates[index], request_id=candidates[0].request_id, nfe=calls)


def most_agreeable(texts: Sequence[str]) -> int:
    """Index of the text with the highest mean similarity to the others: minimum Bayes risk (Kumar and Byrne 2004;
    Eikema and Aziz 2020).

    Ties go to the first.
    """
    gains = [sum(ngram_f1(text, other) for other in texts) for text in texts]  # each likes itself equally well
    return gains.index(max(gains))


def most_fitting(texts: Sequence[str], picture: np.ndarray, embed_texts: EmbedTexts) -> int:
    """Index of the text whose CLIP embedding is nearest to the picture's, by cosine (CLIPScore without references,
    Hessel et al. 2021). Ties go to the first.

    Args:
        texts: of one picture; they are embedded by themselves, so that no other sample plays a part.
        picture: [d], need not be normalised.
        embed_texts: of the same CLIP model.
    """
    distinct = list(dict.fromkeys(texts))
    if len(distinct) == 1:
        return 0
    cosines = embed_texts(distinct).double().numpy() @ np.asarray(picture, dtype=np.float64)
    return texts.index(distinct[int(cosines.argmax())])


def ngram_f1(text: str, other: str) -> float:
    """Overlap of two texts' words and word pairs, 0 to 1: F1 over the multisets, which is symmetric."""
    first, second = _ngrams(text), _ngrams(other)
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 1.0


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
    words = text.split()
    return Counter([(word,) for word in words] + list(itertools.pairwise(words)))
