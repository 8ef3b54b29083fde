"""`report.html`: one self-contained file with scores, controls, curves, examples, confidence and denoising steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from multimodal.evaluation.curves import training_charts
from multimodal.evaluation.items import Item
from multimodal.evaluation.media import picture_uri, sound_uri
from multimodal.evaluation.metrics import METRICS, Metric, SceneExact
from multimodal.evaluation.options import EvaluateOptions
from multimodal.evaluation.score import CONTROLS, TaskScore
from multimodal.evaluation.task_results import TaskResult
from multimodal.evaluation.writing import Generator, Stores, build_request
from multimodal.generation import Generation
from multimodal.sample import Modality, Task
from multimodal.tokenizer import MASK, PAD
from multimodal.training.options import SamplerOptions

if TYPE_CHECKING:
    from multimodal.dataset import Dataset

TASK_TITLES = {
    Task.CAPTION: "Captions: pictures to text",
    Task.TRANSCRIBE: "Transcripts: speech to text",
    Task.DENOISE: "Denoise: noisy text to clean text",
    Task.INFILL: "Infill: text with a gap to the missing words",
    Task.RESTYLE: "Restyle: the same content in another style",
}


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the report is drawn from.

    Args:
        results: one per task.
        skipped: tasks left out, with the reason.
        dataset: media of the gallery, and counts.
        stores: latents, for the texts that are written once more step by step.
        options, sampler: as evaluated.
        generator: the model.
        history: rows of the training, or None.
        facts: further lines for the head.
    """

    results: Sequence[TaskResult]
    skipped: Mapping[str, str]
    dataset: Dataset
    stores: Stores
    options: EvaluateOptions
    sampler: SamplerOptions
    generator: Generator
    history: Path | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """One number of the score table: as shown, and whether the model's score beats it (None: not compared)."""

    text: str
    beaten: bool | None = None


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One row of the score table."""

    score: TaskScore
    metric: type[Metric]
    value: str
    controls: tuple[Cell, ...]
    copied: str
    blind: bool
    verdict: str


@dataclass(frozen=True, slots=True)
class Token:
    """A token with the model's confidence in it, 0 to 1; `kind` is `word`, `mask` or `new`."""

    text: str
    confidence: float = 1.0
    kind: str = "word"


@dataclass(frozen=True, slots=True)
class Example:
    """One sample of the gallery; `right` is None where nothing says that a hypothesis is wrong."""

    item: Item
    hypothesis: str
    tokens: tuple[Token, ...]
    nearest: str
    shuffled: str
    right: bool | None
    media: str = ""
    steps: tuple[tuple[Token, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """The gallery of one task."""

    task: Task
    title: str
    result: TaskResult
    examples: tuple[Example, ...]
    slices: tuple[tuple[str, str, int], ...]
    slice_metric: str


def render_report(inputs: ReportInputs) -> str:
    """The report as HTML; every text in it is escaped, and nothing is fetched from anywhere."""
    environment = Environment(
        loader=PackageLoader("multimodal.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = {result.task: [score_row(score) for score in result.scores] for result in inputs.results}
    every = [row for task_rows in rows.values() for row in task_rows]
    return environment.get_template("report.html.j2").render(
        facts=_facts(inputs),
        rows=rows,
        titles=TASK_TITLES,
        results={result.task: result for result in inputs.results},
        skipped=inputs.skipped,
        beaten=sum(row.score.beats_controls for row in every),
        total=len(every),
        blind=[row for row in every if row.blind],
        charts=training_charts(inputs.history),
        sections=[_section(result, inputs) for result in inputs.results],
        has_copied=any(row.copied for row in every),
        legend=[Token(f" {level:.0%}", level) for level in (0.2, 0.4, 0.6, 0.8, 1.0)],
    )


def score_row(score: TaskScore) -> ScoreRow:
    """A score as the table shows it, with its verdict in words."""
    metric = METRICS[score.metric]
    controls = tuple(
        Cell(metric.shown(getattr(score, name)), score.beats(name) if name in score.must_beat else None)
        for name in CONTROLS
    )
    blind = not score.beats("shuffled")
    copied = "" if score.copied is None else metric.shown(score.copied)
    return ScoreRow(score, metric, metric.shown(score.value), controls, copied, blind, _verdict(score))


def _verdict(score: TaskScore) -> str:
    if not score.beats("shuffled"):
        return "does not look at its input"
    lost = [name for name in score.must_beat if not score.beats(name)]
    return f"does not beat {' and '.join(lost)}" if lost else "beats its controls"


def _facts(inputs: ReportInputs) -> dict[str, str]:
    info, texts = inputs.dataset.info, sum(len(result.items) for result in inputs.results)
    seconds = sum(result.seconds for result in inputs.results)
    nfe = sum(result.nfe * len(result.items) for result in inputs.results) / max(1, texts)
    counts = info.counts
    return {
        **inputs.facts,
        "split": f"{inputs.options.split}, {texts:,} texts written",
        "dataset": f"{info.fingerprint}: {counts.rows:,} rows in = {counts.kept:,} kept + {counts.quarantined:,} "
        f"quarantined + {counts.duplicate:,} duplicate",
        "sampler": f"at most {inputs.sampler.num_steps} steps, threshold {inputs.sampler.threshold:g}, temperature "
        f"{inputs.sampler.temperature:g}, guidance {inputs.sampler.guidance_scale:g}",
        "speed": f"{nfe:.1f} denoiser calls per text, {texts / max(seconds, 1e-9):,.0f} texts/s",
    }


def _section(result: TaskResult, inputs: ReportInputs) -> Section:
    count = min(inputs.options.gallery, len(result.items))
    media = _media(result.items[:count], inputs.dataset)
    steps = _steps(result, inputs, min(inputs.options.trajectories, count))
    examples = tuple(_example(result, index, media, steps) for index in range(count))
    metric = METRICS[result.slices[0].metric] if result.slices else None
    slices = tuple((part.name, metric.shown(part.value), part.count) for part in result.slices) if metric else ()
    return Section(result.task, TASK_TITLES[result.task], result, examples, slices, metric.title if metric else "")


def _example(
    result: TaskResult, index: int, media: Mapping[str, str], steps: Mapping[int, tuple[tuple[Token, ...], ...]]
) -> Example:
    item, generation, answers = result.items[index], result.generations[index], result.answers
    return Example(
        item=item,
        hypothesis=answers.model[index],
        tokens=_tokens(generation),
        nearest=answers.nearest[index],
        shuffled=answers.shuffled[index],
        right=_is_right(item, answers.model[index]),
        media=media.get(item.content_id, ""),
        steps=steps.get(index, ()),
    )


def _is_right(item: Item, hypothesis: str) -> bool | None:
    """Whether a hypothesis equals a reference or holds of the scene; captions of photographs can be right otherwise."""
    if item.scene is not None:
        return SceneExact().score([item], [hypothesis]).value == 1
    return hypothesis in item.references or (None if item.task is Task.CAPTION else False)


def _tokens(generation: Generation | None) -> tuple[Token, ...]:
    if generation is None:
        return ()
    pairs = zip(generation.tokens, generation.confidences, strict=True)
    return tuple(Token(text, min(1.0, max(0.0, confidence))) for text, confidence in pairs)


def _media(items: Sequence[Item], dataset: Dataset) -> dict[str, str]:
    modality = items[0].task.modality if items else Modality.TEXT
    if modality is Modality.TEXT:
        return {}
    to_uri = picture_uri if modality is Modality.IMAGE else sound_uri
    contents = dataset.contents([item.content_id for item in items], modality)
    return {content.content_id: to_uri(content.data) for content in contents}


def _steps(result: TaskResult, inputs: ReportInputs, count: int) -> dict[int, tuple[tuple[Token, ...], ...]]:
    """The first samples that the model did not refuse, written once more with every step kept."""
    chosen = [index for index, generation in enumerate(result.generations) if generation][:count]
    if not chosen:
        return {}
    requests = [build_request(result.items[index], inputs.stores) for index in chosen]
    generations = inputs.generator.generate(requests, inputs.sampler, trajectory=True)
    return {
        index: trajectory_rows(generation.trajectory) for index, generation in zip(chosen, generations, strict=True)
    }


def trajectory_rows(trajectory: Sequence[Sequence[str]]) -> tuple[tuple[Token, ...], ...]:
    """The canvases of a trajectory as tokens: masks, words, and words that are new in their step; no padding.

    Positions that are padding in the end are shown while they are masks, so that the length is seen to be found.
    """
    rows, before = [], tuple(trajectory[0]) if trajectory else ()
    for canvas in trajectory:
        changed = (text != old for text, old in zip(canvas, before, strict=True))
        rows.append(
            tuple(
                Token("", kind="mask") if text == MASK else Token(text, kind="new" if new else "word")
                for text, new in zip(canvas, changed, strict=True)
                if text != PAD
            )
        )
        before = tuple(canvas)
    return tuple(rows)
