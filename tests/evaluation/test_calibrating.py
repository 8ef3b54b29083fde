"""Calibration: the fit, what it is fitted to, and the checkpoint that keeps it."""

import numpy as np
import pytest

from multimodal.evaluation.calibrating import FEWEST, fit_calibration
from multimodal.evaluation.calibration import expected_calibration_error
from multimodal.evaluation.items import Item
from multimodal.evaluation.outcomes import judge, right_share, written_words
from multimodal.generation import Generation
from multimodal.generation.calibration import Calibration, logit, read_calibrations, sigmoid
from multimodal.sample import Split, Task


def item(reference: str, task: Task = Task.DENOISE) -> Item:
    return Item("s", task, Split.VAL, "c", (reference,))


def generation(text: str, confidences: list[float]) -> Generation:
    """Each word is one token."""
    words = text.split()
    tokens = tuple(f" {word}" for word in words)
    score = float(np.exp(np.mean(np.log(confidences))))
    return Generation("s", text, tokens, tuple(confidences), 1, score, confidence=score)


def test_words_take_their_least_certain_token() -> None:
    """Tokens that begin with a space begin a word."""
    found = Generation("s", "a redder dog", (" a", " red", "der", " dog"), (0.9, 0.8, 0.3, 1.0), 1, 0.5)
    assert written_words(found) == [("a", 0.9), ("redder", 0.3), ("dog", 1.0)]
    assert written_words(found, only_gaps=True) == [("a", 0.9), ("redder", 0.3)]


def test_a_text_is_judged_by_its_alignment() -> None:
    """Wrong, missing and superfluous words count; case and ends do not."""
    outcome = judge(item("a small red dog runs"), generation("A red cat runs.", [0.9, 0.8, 0.1, 0.7]))
    assert outcome.right == (True, True, False, True)
    assert outcome.share == pytest.approx(3 / 5)
    assert right_share("a dog", ("the cat", "a dog")) == 1
    assert right_share("", ("a",)) == 0


def overconfident(count: int, seed: int) -> tuple[list[Item], list[Generation]]:
    """Texts of six words whose logits are three times what is right."""
    rng = np.random.default_rng(seed)
    items, generations = [], []
    for _ in range(count):
        true = sigmoid(rng.normal(0.5, 1.0) + rng.normal(0, 0.3, 6))
        right = rng.random(6) < true
        items.append(item(" ".join(f"w{i}" for i in range(6))))
        text = " ".join(f"w{i}" if hit else "x" for i, hit in enumerate(right))
        generations.append(generation(text, list(sigmoid(3 * logit(true)))))
    return items, generations


def test_overconfidence_is_found_and_undone() -> None:
    """The temperature is the factor that was put in; on other texts the error falls to a third, for texts and words."""
    calibration = fit_calibration(*overconfident(400, seed=0))
    assert calibration.temperature == pytest.approx(3, rel=0.15)
    items, generations = overconfident(400, seed=1)
    outcomes = [judge(*pair) for pair in zip(items, generations, strict=True)]
    right = [hit for outcome in outcomes for hit in outcome.right]
    stated = [p for outcome in outcomes for p in outcome.confidences]
    before = expected_calibration_error(stated, right).value
    after = expected_calibration_error([calibration.token(p) for p in stated], right).value
    assert after < before / 3
    shares = [outcome.share for outcome in outcomes]
    before = expected_calibration_error([found.score for found in generations], shares).value
    after = expected_calibration_error([calibration.text(found.score) for found in generations], shares).value
    assert after < before / 3


def test_trust_keeps_its_promise() -> None:
    """Texts from the threshold on hold nine right words in ten; where none do, nothing is trusted."""
    items, generations = overconfident(400, seed=0)
    calibration = fit_calibration(items, generations)
    shares = [
        judge(*pair).share
        for pair in zip(items, generations, strict=True)
        if calibration.text(pair[1].score) >= calibration.trusted_from
    ]
    assert len(shares) >= 10 and np.mean(shares) >= 0.9
    wrong = [generation("x y", [0.9, 0.9])] * 30
    hopeless = fit_calibration([item("a b")] * 30, wrong)
    assert hopeless.trusted_from > 1 and hopeless.text(0.9) < 0.1


def test_order_is_kept() -> None:
    """A surer text stays surer, whatever val says."""
    items, generations = overconfident(60, seed=2)
    turned = [generation(found.text, [1 - p for p in found.confidences]) for found in generations]
    calibration = fit_calibration(items, turned)
    assert calibration.slope >= 0
    assert calibration.text(0.2) <= calibration.text(0.8)


def test_few_texts_change_nothing() -> None:
    """The identity, which also says what was given: certain."""
    items, generations = overconfident(FEWEST - 1, seed=0)
    assert fit_calibration(items, generations) == Calibration()
    assert Calibration().text(0.3) == pytest.approx(0.3) and Calibration().token(0.3) == pytest.approx(0.3)
    assert Calibration(temperature=5).token(1.0) == 1.0


def test_it_survives_json() -> None:
    """As a checkpoint keeps it; a checkpoint without any has none."""
    calibration = Calibration(2.0, 0.5, -0.1, 0.8)
    assert read_calibrations({"calibration": {"denoise": calibration.to_json()}}) == {"denoise": calibration}
    assert read_calibrations({}) == {}
