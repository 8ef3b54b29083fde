"""PSNR and SSIM on pictures whose scores are known."""

import ast
from pathlib import Path

import numpy as np
import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.image_scores import psnr, ssim


def pictures(count=2):
    return np.random.default_rng(0).integers(0, 200, size=(count, 16, 16, 3), dtype=np.uint8)


def test_psnr_is_the_mean_over_pictures_in_decibels():
    """An error of 1 and of 10 everywhere: 20 log10(255) and 20 dB less, not the PSNR of the pooled error."""
    references = pictures()
    shifted = references + np.array([1, 10], dtype=np.uint8).reshape(2, 1, 1, 1)
    score = psnr(shifted, references)
    assert score.value == pytest.approx(20 * np.log10(255) - 10, abs=1e-5)
    assert "range:255" in score.signature and "torchmetrics:" in score.signature


def test_floats_have_a_range_of_one():
    """The same pictures as floats score the same."""
    references = pictures()
    shifted = references + np.uint8(5)
    floats = psnr(shifted / 255, references / 255)
    assert floats.value == pytest.approx(psnr(shifted, references).value, abs=1e-6)


def test_ssim_is_one_for_the_same_and_falls_with_noise():
    """Itself, a little noise, much noise."""
    references = pictures()
    noise = np.random.default_rng(1).integers(0, 50, size=references.shape, dtype=np.uint8)
    assert ssim(references, references).value == pytest.approx(1)
    assert 1 > ssim(references + noise // 8, references).value > ssim(references + noise, references).value


def test_ssim_equals_the_formula_on_flat_pictures():
    """Without structure only luminance is left: (2 a b + c1) / (a^2 + b^2 + c1) (Wang et al. 2004, equation 6)."""
    first, second = np.full((1, 16, 16, 3), 0.4), np.full((1, 16, 16, 3), 0.6)
    expected = (2 * 0.4 * 0.6 + 0.01**2) / (0.4**2 + 0.6**2 + 0.01**2)
    assert ssim(first, second).value == pytest.approx(expected, abs=1e-6)


def test_pictures_of_different_shape_are_refused():
    """The shapes are in the message."""
    with pytest.raises(MultimodalError, match=r"\(1, 16, 16, 3\) uint8 and \(2, 16, 16, 3\) uint8"):
        psnr(pictures(1), pictures(2))


def test_torchmetrics_is_loaded_only_when_pictures_are_scored():
    """Its import takes seconds: no module of the library imports it at its top."""
    found = []
    for path in (Path(__file__).parents[2] / "multimodal").rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                found += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found.append(node.module)
    assert "numpy" in found
    assert [name for name in found if name.split(".")[0] == "torchmetrics"] == []
