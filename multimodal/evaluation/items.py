"""What is evaluated: one item per text to be written, with everything that scores it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from multimodal.sample import CAPTIONS, Sample, Split, Task
from multimodal.tasks import GAP, make_gap

_SHARED = (*CAPTIONS, Task.RESTYLE)  # several samples of one content (and style) are one text to be written


@dataclass(frozen=True, slots=True)
class Item:
    """One text to be written.

    Args:
        sample_id: of the first of its samples.
        content_id: key of its latents; unused by infill.
        references: the texts that count as right; for infill the words that were cut out.
        input: the text conditioned on (denoise, restyle), for infill the text with its gap, "" for media.
        style: asked style, "" for none.
        attributes: the source's further columns as JSON.
        hint, picture: what stands beside the content, as in `Sample`.
        uri: where in the source the first of its samples comes from.
    """

    sample_id: str
    task: Task
    split: Split
    content_id: str
    references: tuple[str, ...]
    input: str = ""
    style: str = ""
    speaker: str = ""
    source: str = ""
    attributes: str = "{}"
    hint: str = ""
    picture: str = ""
    uri: str = ""

    @property
    def text(self) -> str:
        """The whole text that the first reference gives."""
        return self.input.replace(GAP, self.references[0]) if self.task is Task.INFILL else self.references[0]

    @property
    def scene(self) -> Any:
        """The description of the drawn scene, as the source gives it (JSON values), or None."""
        if "scene" not in self.attributes:
            return None
        scene = json.loads(self.attributes).get("scene")
        return json.loads(scene) if isinstance(scene, str) else scene


def build_items(
    samples: Sequence[Sample], most: int | None = None, encoded: Container[str] | None = None
) -> list[Item]:
    """Items of the samples of one task and split, by sample id, the first `most` of them.

    Captions of one picture or sound become one item with all captions as references, as do the targets of one text in
    one style. Samples without text are left out, and samples whose content is not among those `encoded`; infill needs
    no latents.
    """
    groups: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: sample.sample_id):
        if sample.text.strip() and (sample.task is Task.INFILL or encoded is None or sample.content_id in encoded):
            shared = (sample.content_id, sample.style, sample.hint, sample.picture)
            groups[shared if sample.task in _SHARED else (sample.sample_id,)].append(sample)
    return [_item(group) for group in list(groups.values())[:most]]


def _item(samples: Sequence[Sample]) -> Item:
    first = samples[0]
    references, shown = tuple(dict.fromkeys(sample.text for sample in samples)), first.input
    if first.task is Task.INFILL:
        gapped = make_gap(first.text, first.sample_id)
        references, shown = (gapped.span,), gapped.text_with_gap
    return Item(
        sample_id=first.sample_id,
        task=first.task,
        split=first.split,
        content_id=first.content_id,
        references=references,
        input=shown,
        style=first.style,
        speaker=first.speaker,
        source=first.source,
        attributes=next((sample.attributes for sample in samples if sample.attributes != "{}"), "{}"),
        hint=first.hint,
        picture=first.picture,
        uri=first.uri,
    )
