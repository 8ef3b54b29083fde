"""The toy corpus of the training tests, and the small dataset of the evaluation tests."""

from tests.evaluation.conftest import corpus
from tests.training.conftest import make_toy

__all__ = ["corpus", "make_toy"]
