"""Whether a caption says what was drawn: an exact check against the description of the scene, not n-grams."""

from __future__ import annotations

from collections.abc import Sequence

from multimodal.evaluation.items import Item
from multimodal.evaluation.score import Score
from multimodal.synthetic.descriptions import CaptionCheck, check_caption
from multimodal.synthetic.scenes import Scene


def scene_share(items: Sequence[Item], hypotheses: Sequence[str], aspect: str) -> Score:
    """The share of described scenes whose caption is right in one aspect.

    Args:
        items: pictures; those without a scene description are left out.
        hypotheses: a caption for each.
        aspect: `objects`, `colours`, `relations` or `sizes`; `exact` asks for the first three.
    """
    checks = [
        check_caption(hypothesis, Scene.from_json(item.scene))
        for item, hypothesis in zip(items, hypotheses, strict=True)
        if item.scene is not None
    ]
    right = sum(_is_right(check, aspect) for check in checks)
    counts = {"right": right, "samples": len(checks)}
    return Score(f"scene_{aspect}", right / max(1, len(checks)), counts, "equal to the drawn scene")


def _is_right(check: CaptionCheck, aspect: str) -> bool:
    right = {"objects": check.objects, "colours": check.colours, "relations": check.relations, "sizes": check.sizes}
    return check.objects and check.colours and check.relations if aspect == "exact" else right[aspect]
