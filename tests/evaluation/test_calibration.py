"""The expected calibration error on cases that can be counted."""

import numpy as np
import pytest

from multimodal.errors import MultimodalError
from multimodal.evaluation.calibration import expected_calibration_error


def test_confidence_that_is_the_share_right_has_no_error():
    """Of ten texts at 0.8 eight are right."""
    assert expected_calibration_error([0.8] * 10, [True] * 8 + [False] * 2).value == pytest.approx(0)


def test_error_is_the_weighted_gap_of_the_bins():
    """Three at 0.9 of which none is right, one at 0.2 that is: (3 x 0.9 + 0.8) / 4; gaps do not cancel out."""
    score = expected_calibration_error([0.9, 0.9, 0.9, 0.2], [False, False, False, True])
    assert score.value == pytest.approx((3 * 0.9 + 0.8) / 4)
    assert score.counts["confidence"] == pytest.approx(0.725) and score.counts["right"] == 0.25


def test_bins_are_closed_above_and_the_ends_are_in():
    """0 is in the first bin, 1 in the last; 0.5 of two bins in the lower."""
    assert expected_calibration_error([0.0, 1.0], [False, True]).value == 0
    assert expected_calibration_error([0.5, 0.1], [False, True], bins=2).value == pytest.approx(abs(0.6 - 1) / 2)
    assert expected_calibration_error([0.5, 0.6], [False, True], bins=2).value == pytest.approx((0.5 + 0.4) / 2)


def test_a_calibrated_model_has_little_error_and_an_overconfident_one_has_its_gap():
    """Ten thousand draws."""
    rng = np.random.default_rng(0)
    confidences = rng.random(10_000)
    right = rng.random(10_000) < confidences
    assert expected_calibration_error(confidences, right).value < 0.02
    assert expected_calibration_error(np.sqrt(confidences), right).value == pytest.approx(2 / 3 - 1 / 2, abs=0.02)


def test_what_is_no_confidence_is_refused():
    """Values and lengths are in the message."""
    with pytest.raises(MultimodalError, match="0 to 1; got 0 to 2"):
        expected_calibration_error([0, 2], [True, True])
    with pytest.raises(MultimodalError, match="1 confidences against 2"):
        expected_calibration_error([0], [True, True])
