"""Presets and options that differ by task."""

import pytest
from pydantic import ValidationError

from multimodal.diffusion.presets import PRESETS
from multimodal.sample import Task
from multimodal.training.options import SamplerOptions


@pytest.mark.parametrize(("name", "most"), [("draft", 2), ("balanced", 4), ("quality", 8)])
def test_presets_keep_to_their_calls(name: str, most: int) -> None:
    """For every task."""
    options = SamplerOptions.model_validate({"preset": name})
    assert {options.of(task).num_steps for task in Task} == {most}
    assert set(PRESETS) == {"draft", "balanced", "quality"}


def test_what_is_named_beside_a_preset_wins() -> None:
    """For every task, or for the one that is named."""
    options = SamplerOptions.model_validate(
        {"preset": "balanced", "kind": "safe", "tasks": {"caption": {"num_steps": 9}}}
    )
    assert {options.of(task).kind for task in Task} == {"safe"}
    assert options.of(Task.CAPTION).num_steps == 9 and options.of(Task.INFILL).num_steps == 4
    assert options.of(Task.DENOISE).threshold == PRESETS["balanced"]["tasks"]["denoise"]["threshold"]


def test_a_call_overrules_all_tasks() -> None:
    """A value for all of them; a preset replaces everything but the seed; nothing changes nothing."""
    own = SamplerOptions.model_validate(
        {"num_steps": 16, "seed": 3, "tasks": {"caption": {"num_steps": 9, "kind": "safe"}}}
    )
    assert own.overruled({}) == own
    called = own.overruled({"num_steps": 2})
    assert {called.of(task).num_steps for task in Task} == {2}
    assert called.of(Task.CAPTION).kind == "safe"
    assert own.overruled({"preset": "draft"}) == SamplerOptions.model_validate({"preset": "draft", "seed": 3})
    assert own.overruled({"preset": "", "seed": 4}).seed == 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "best"}, "the presets are draft, balanced, quality"),
        ({"tasks": {"caption": {"num_step": 2}}}, "did you mean 'num_steps'"),
        ({"tasks": {"caption": {"seed": 2}}}, "the same for all tasks"),
        ({"tasks": {"draw": {}}}, "tasks"),
        ({"tasks": {"caption": {"candidates": 3}}}, "set a temperature"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    """When the configuration is read."""
    with pytest.raises(ValidationError, match=message):
        SamplerOptions.model_validate(values)
