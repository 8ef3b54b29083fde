"""Named settings of the sampler: how many calls of the denoiser a text may cost, and the rule that spends them best.

Which rule is best differs by task (conf/LOG.md has the table): captions are written from nothing and gain from the
entropy bound, edited texts are nearly certain from the start and need no more than a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_EDITED = ("denoise", "restyle")


def _preset(edited: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    return {**others, "tasks": {task: dict(edited) for task in _EDITED}}


PRESETS: dict[str, dict[str, Any]] = {
    "draft": _preset({"kind": "confidence", "threshold": 0.7}, num_steps=2, kind="entropy", entropy_bound=1.0),
    "balanced": _preset({"kind": "confidence", "threshold": 0.7}, num_steps=4, kind="entropy", entropy_bound=1.0),
    "quality": _preset(
        {"kind": "confidence", "threshold": 0.95, "temperature": 0.0, "candidates": 1},
        num_steps=8, kind="entropy", entropy_bound=0.3, temperature=0.5, candidates=4,
    ),
}  # fmt: skip
"""Name -> values of `SamplerOptions`: at most 2, 4 and 8 calls for a text, the last with minimum-Bayes-risk choice."""


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options in which `preset` is replaced by what it stands for; what is named beside it wins, for all tasks too.

    Raises:
        ValueError: there is no such preset.
    """
    named = {key: value for key, value in values.items() if key != "preset"}
    name = values.get("preset")
    if not name:
        return named
    if name not in PRESETS:
        raise ValueError(f"no preset '{name}'; the presets are {', '.join(PRESETS)}")
    tasks = {
        task: {key: value for key, value in settings.items() if key not in named}
        for task, settings in PRESETS[name]["tasks"].items()
    }
    for task, settings in named.pop("tasks", {}).items():
        tasks[str(task)] = tasks.get(str(task), {}) | settings
    return PRESETS[name] | named | {"tasks": tasks}
