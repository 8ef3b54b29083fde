"""The validation score that training stops by and promotion compares: texts are written and scored, nothing is fitted.

Per task one number from 0 to 1, higher is better:

    caption      CIDEr-D / 10; where scenes are described, the mean of that and the share of scenes exactly right
    transcribe   1 - WER, at least 0
    denoise      share of the input's character errors that are gone, at least 0
    infill       share of gaps filled exactly
    restyle      BLEU / 100
    audio_caption  as caption

The score is their mean over the tasks that the split holds and the model knows. The same is computed for answers to
other samples' requests (shuffled conditions): while the two are equal, the model does not look at its input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multimodal.evaluation.controls import derangement
from multimodal.evaluation.items import Item, build_items
from multimodal.evaluation.metrics import TASK_METRICS, SceneExact
from multimodal.evaluation.writing import Generator, Stores, answer, write_texts
from multimodal.generation import Generation
from multimodal.latents import LatentsInfo, LatentStore
from multimodal.sample import CAPTIONS, Modality, Split, Task
from multimodal.training.options import SamplerOptions

if TYPE_CHECKING:
    from multimodal.dataset import Dataset

_BATCH = 64


@dataclass(frozen=True, slots=True)
class SampledScore:
    """A validation score.

    Args:
        value: mean over tasks, 0 to 1, higher is better.
        per_task: the score of each task.
        shuffled_value: the same with shuffled conditions.
        shuffled_per_task: of each task.
        nfe: mean calls of the denoiser per text.
    """

    value: float
    per_task: dict[str, float]
    shuffled_value: float
    shuffled_per_task: dict[str, float] = field(default_factory=dict)
    nfe: float = 0.0

    @property
    def conditioning_gap(self) -> float:
        """How much the condition is worth: near 0, the model does not look at its input."""
        return self.value - self.shuffled_value


@dataclass(frozen=True)
class SampledScorer:
    """`sampled_score` with its samples chosen once, for calling again and again during training.

    Args:
        items: what is written, by task; at least two of each.
        stores: latents by modality.
        options: of the sampler.
    """

    items: Mapping[Task, Sequence[Item]]
    stores: Stores
    options: SamplerOptions

    @classmethod
    def choose(
        cls,
        dataset: Dataset,
        latents: Mapping[Modality, LatentsInfo],
        options: SamplerOptions,
        split: Split = Split.VAL,
        max_samples: int = 48,
        tasks: Sequence[Task] = tuple(Task),
    ) -> SampledScorer:
        """The first `max_samples` items per task by sample id; tasks with fewer than two items are left out."""
        stores = {modality: LatentStore(info.path) for modality, info in latents.items()}
        chosen = {}
        for task in tasks:
            if task is Task.INFILL or task.modality in stores:
                items = build_items(dataset.samples(split=split, task=task), max_samples, stores.get(task.modality))
                if len(items) >= 2:
                    chosen[task] = items
        return cls(chosen, stores, options)

    def __call__(self, generator: Generator) -> SampledScore:
        """Let the model write all chosen items and score them; 0 where there is nothing to score."""
        right, shuffled, calls = {}, {}, 0
        for task, generations in self.write(generator).items():
            items = self.items[task]
            if not any(generations):
                continue  # the model was not trained for this task
            calls += sum(generation.nfe for generation in generations if generation)
            answers = [answer(*pair) for pair in zip(items, generations, strict=True)]
            others = [answers[index] for index in derangement(len(items))]
            right[str(task)], shuffled[str(task)] = bounded_score(items, answers), bounded_score(items, others)
        return SampledScore(_mean(right), right, _mean(shuffled), shuffled, calls / max(1, self._count))

    def write(self, generator: Generator) -> dict[Task, list[Generation | None]]:
        """What the model writes for the items of each task."""
        everything = [item for items in self.items.values() for item in items]
        written = iter(write_texts(generator, everything, self.stores, self.options, _BATCH))
        return {task: [next(written) for _ in items] for task, items in self.items.items()}

    @property
    def _count(self) -> int:
        return sum(len(items) for items in self.items.values())


def sampled_score(
    generator: Generator,
    dataset: Dataset,
    latents: Mapping[Modality, LatentsInfo],
    options: SamplerOptions,
    split: Split = Split.VAL,
    max_samples: int = 48,
) -> SampledScore:
    """The validation score of a model on the first `max_samples` items per task; the module says how it is made up."""
    return SampledScorer.choose(dataset, latents, options, split, max_samples)(generator)


def bounded_score(items: Sequence[Item], hypotheses: Sequence[str]) -> float:
    """The score of one task's texts, 0 to 1, by the formula that the module's docstring gives."""
    task = items[0].task
    value = TASK_METRICS[task][0]().score(items, hypotheses).value
    if task in CAPTIONS:
        value /= 10
        if any(item.scene is not None for item in items):
            value = (value + SceneExact().score(items, hypotheses).value) / 2
    elif task is Task.TRANSCRIBE:
        value = 1 - value
    elif task is Task.RESTYLE:
        value /= 100
    return min(1.0, max(0.0, value))


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / max(1, len(values))
