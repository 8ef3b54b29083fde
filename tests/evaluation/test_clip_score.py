"""CLIPScore in both forms against hand-made cases, the paper's formulas and torchmetrics."""

import numpy as np
import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.clip_score import clip_score, clip_score_100, depicts, ref_clip_score

X, Y = [1.0, 0.0], [0.0, 1.0]
DIAGONAL = [1.0, 1.0]  # cosine sqrt(1/2) with both
TORCHMETRICS = 50.77769470214844  # of torchmetrics 1.9.0 with towers that give the embeddings of the test


def test_texts_are_embedded_with_the_papers_prompt():
    """The prompt and one space."""
    assert depicts("a red dog") == "A photo depicts a red dog"


def test_papers_form_is_scaled_and_cut_at_zero_for_each_caption():
    """2.5 x cos, 0 where the cosine is negative, whatever the lengths of the vectors."""
    images, captions = np.array([X, X, X]), np.array([[3.0, 0.0], DIAGONAL, [-1.0, 0.0]])
    score = clip_score(images, captions)
    assert score.value == pytest.approx(2.5 * (1 + 0.5**0.5 + 0) / 3)
    assert "paper" in score.signature and "A photo depicts" in score.signature


def test_reference_form_is_the_harmonic_mean_with_the_nearest_reference():
    """2 x 2.5 cos x ref / (2.5 cos + ref), and 0 where either is."""
    images, captions = np.array([X, X, X]), np.array([DIAGONAL, X, Y])
    references = [np.array([Y, DIAGONAL]), np.array([X]), np.array([Y])]
    image = 2.5 * 0.5**0.5
    expected = (2 * image * 1 / (image + 1) + 2 * 2.5 / 3.5 + 0) / 3
    assert ref_clip_score(images, captions, references).value == pytest.approx(expected)
    opposite = ref_clip_score(np.array([X]), np.array([X]), [np.array([[-1.0, 0.0]])])
    assert opposite.value == 0


def test_torchmetrics_form_equals_torchmetrics():
    """The value that torchmetrics' own CLIPScore gave for these embeddings, once; its import takes twenty seconds."""
    images = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0], [3.0, 0.0, 1.0], [1.0, 1.0, 1.0]], dtype=np.float32)
    captions = np.array([[1.0, 2.0, 2.5], [1.0, 1.0, -1.0], [2.0, 1.0, 0.0], [1.0, 0.0, 1.0]], dtype=np.float32)
    ours = clip_score_100(images, captions)
    assert ours.value == pytest.approx(TORCHMETRICS, abs=1e-4)
    assert "torchmetrics" in ours.signature and "prompt:none" in ours.signature
    assert clip_score_100(images, -captions).value == 0


def test_arrays_that_do_not_fit_are_refused():
    """The shapes are in the message; so is a picture without references."""
    with pytest.raises(MultimodalError, match=r"\(1, 2\) and \(2, 2\)"):
        clip_score(np.array([X]), np.array([X, Y]))
    with pytest.raises(MultimodalError, match="at least one"):
        ref_clip_score(np.array([X]), np.array([X]), [np.zeros((0, 2))])
