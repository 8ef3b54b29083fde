"""Whether what is evaluated was trained on: samples of the split that train holds too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from multimodal.evaluation.items import Item
from multimodal.ingest.duplicates.plain import text_key
from multimodal.sample import Modality, Task


@dataclass(frozen=True, slots=True)
class Decontamination:
    """How many evaluated samples are in train.

    Args:
        test_in_train: evaluated samples that train holds too.
        checked: evaluated samples.
    """

    test_in_train: int = 0
    checked: int = 0

    def __add__(self, other: Decontamination) -> Decontamination:
        """Of two sets of samples together."""
        return Decontamination(self.test_in_train + other.test_in_train, self.checked + other.checked)


def decontaminate(items: Sequence[Item], train: Sequence[Item], train_contents: Collection[str]) -> Decontamination:
    """Count the items of one task that train holds: the same content or, of text, the same text but for its looks.

    Texts are compared in lower case without punctuation: restyle and denoise by input and target together, infill by
    the whole text. Pictures and sound are compared by their bytes (`content_id`): that two clips say the same sentence
    is no leak.

    Args:
        items: of one task.
        train: all train items of that task.
        train_contents: content ids of all tasks' train samples that the task's contents are compared with.
    """
    keys = {key for item in train for key in _text_keys(item)}
    leaked = sum(item.content_id in train_contents or not keys.isdisjoint(_text_keys(item)) for item in items)
    return Decontamination(leaked, len(items))


def _text_keys(item: Item) -> list[tuple[str, ...]]:
    if item.task.modality is not Modality.TEXT:
        return []
    targets = (item.text,) if item.task is Task.INFILL else item.references
    return [text_key(item.task, item.input, item.style, target) for target in targets]
