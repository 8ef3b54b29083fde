from __future__ import annotations

import pytest
from pydantic import ValidationError

from multimodal.ingest.options import IngestOptions, SplitOptions
from multimodal.options import Options


class Small(Options):
    """Options of two keys."""

    hidden_size: int = 3
    name: str = "x"


def test_options_are_frozen():
    """Nothing changes options after they were checked."""
    with pytest.raises(ValidationError):
        Small().hidden_size = 4  # type: ignore[misc]


def test_an_unknown_key_names_the_nearest_known_one():
    """A slip of the pen is answered with the right key."""
    with pytest.raises(ValidationError, match="unknown key 'hiden_size'; did you mean 'hidden_size'"):
        Small.model_validate({"hiden_size": 4})


def test_an_unknown_key_like_no_other_lists_the_known_ones():
    """Where nothing is near, all keys are shown."""
    with pytest.raises(ValidationError, match="known keys: hidden_size, name"):
        Small.model_validate({"zzz": 4})


def test_splits_must_leave_something_for_train():
    """Shares that add up to one are refused with both values."""
    with pytest.raises(ValidationError, match=r"val 0.5 \+ test 0.5 leave nothing for train"):
        SplitOptions(val=0.5, test=0.5)


def test_source_names_must_be_unique():
    """The ledger tells sources apart by name."""
    source = {"name": "a", "path": "x.csv", "task": "infill"}
    with pytest.raises(ValidationError, match="unique"):
        IngestOptions.model_validate({"sources": [source, source]})
    with pytest.raises(ValidationError):
        IngestOptions.model_validate({"sources": []})
