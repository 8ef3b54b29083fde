"""CLIPScore: how near a caption's embedding is to its picture's, without any reference (Hessel et al. 2021).

Embeddings come from both towers of one CLIP model; texts are embedded as `depicts` gives them. The values of two models
cannot be compared, so that the model's name belongs into the signature. The paper and torchmetrics scale differently,
and each form has its own name here:

    clip_score       paper: mean of 2.5 x max(cos, 0)
    ref_clip_score   paper: mean of the harmonic mean of that and the best max(cos, 0) with a reference
    clip_score_100   torchmetrics: max(100 x mean cos, 0)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from multimodal.errors import MultimodalError
from multimodal.evaluation.score import Score

PROMPT = "A photo depicts"
"""What the paper puts before every text."""

_PAPER_SCALE = 2.5
_TORCHMETRICS_SCALE = 100.0


def depicts(text: str) -> str:
    """A caption or reference as the paper embeds it: "A photo depicts a dog"."""
    return f"{PROMPT} {text}"


def clip_score(image_embeds: np.ndarray, caption_embeds: np.ndarray, model: str = "clip") -> Score:
    """CLIPScore in the paper's form, 0 to 2.5.

    Args:
        image_embeds: one picture a row, [n, d]; need not be normalised.
        caption_embeds: of the caption of each, with the prompt, [n, d].
        model: name of the CLIP model, for the signature.

    Raises:
        MultimodalError: the shapes differ, or there is nothing to score.
    """
    values = clip_score_of_each(image_embeds, caption_embeds)
    return Score(
        "clip_score", float(values.mean()), {"samples": len(values)}, _signature("paper:2.5*max(cos,0)", model)
    )


def clip_score_of_each(image_embeds: np.ndarray, caption_embeds: np.ndarray) -> np.ndarray:
    """The paper's CLIPScore of every caption, float64 [n]; see `clip_score`."""
    scores: np.ndarray = _PAPER_SCALE * np.maximum(_cosines(image_embeds, caption_embeds), 0)
    return scores


def ref_clip_score(
    image_embeds: np.ndarray,
    caption_embeds: np.ndarray,
    reference_embeds: Sequence[np.ndarray],
    model: str = "clip",
) -> Score:
    """RefCLIPScore: mean of the harmonic means of CLIPScore and the likeness to the nearest reference.

    Args:
        image_embeds: [n, d].
        caption_embeds: with the prompt, [n, d].
        reference_embeds: of each picture its references with the prompt, [r, d] with r >= 1.
        model: name of the CLIP model, for the signature.

    Raises:
        MultimodalError: as `clip_score`, or a picture has no reference.
    """
    images = clip_score_of_each(image_embeds, caption_embeds)
    if len(reference_embeds) != len(images) or not all(len(rows) for rows in reference_embeds):
        raise MultimodalError(f"{len(images)} captions need as many sets of references, each with at least one")
    captions = np.asarray(caption_embeds, dtype=np.float64)
    texts = np.array(
        [
            max(0.0, float(_cosines(np.broadcast_to(caption, np.shape(rows)), rows).max()))
            for caption, rows in zip(captions, reference_embeds, strict=True)
        ]
    )
    both = images + texts
    values = np.divide(2 * images * texts, both, out=np.zeros_like(both), where=both > 0)
    signature = _signature("paper:harmonic(2.5*max(cos,0),max(ref cos,0))", model)
    return Score("ref_clip_score", float(values.mean()), {"samples": len(values)}, signature)


def clip_score_100(image_embeds: np.ndarray, caption_embeds: np.ndarray, model: str = "clip") -> Score:
    """CLIPScore in torchmetrics' form, 0 to 100: the mean comes before the cut at 0, and there is no prompt of its own.

    Args:
        image_embeds: [n, d].
        caption_embeds: of the bare captions, as torchmetrics embeds them, [n, d].
        model: name of the CLIP model, for the signature.

    Raises:
        MultimodalError: as `clip_score`.
    """
    cosines = _cosines(image_embeds, caption_embeds)
    value = max(0.0, _TORCHMETRICS_SCALE * float(cosines.mean()))
    return Score("clip_score_100", value, {"samples": len(cosines)}, _signature("torchmetrics:max(100*cos,0)", model))


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 2 or not len(first):
        raise MultimodalError(f"CLIPScore needs two arrays of one shape [n, d]; got {first.shape} and {second.shape}")
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    cosines: np.ndarray = (first * second).sum(axis=1) / np.maximum(norms, 1e-12)
    return cosines


def _signature(form: str, model: str) -> str:
    prompt = "none" if form.startswith("torchmetrics") else PROMPT
    return f"clip_score|{form}|prompt:{prompt}|model:{model}"
