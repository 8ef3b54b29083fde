"""Puts the page together: everything prepared here, the layout in the template, the gallery in the page's script."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from multimodal.evaluation.curves import frontier_charts, training_charts
from multimodal.evaluation.decontamination import Decontamination
from multimodal.evaluation.normalizers import NormaliserName
from multimodal.evaluation.report.data_card import data_card
from multimodal.evaluation.report.examples import MEDIA_BYTES, gallery_task
from multimodal.evaluation.report.inputs import TASK_MEANINGS, TASK_TITLES, ReportInputs
from multimodal.evaluation.report.objects import ObjectErrors, object_errors
from multimodal.evaluation.report.quarantine import FIRST, quarantined_media
from multimodal.evaluation.report.scores import CONTROL_MEANINGS, headline, score_row, slice_rows
from multimodal.evaluation.report.trajectories import player_films
from multimodal.evaluation.report.word_errors import Confusion, WordErrors, confusions, word_errors
from multimodal.evaluation.slices import MIN_SLICE
from multimodal.evaluation.task_results import TaskResult
from multimodal.sample import Modality, Task

_STAMP = re.compile(r"<!--verdict-->.*?<!--/verdict-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TaskErrors:
    """What goes wrong in one task; None and () where nothing is known."""

    task: Task
    words: WordErrors | None = None
    objects: ObjectErrors | None = None
    gaps: tuple[Confusion, ...] = ()


def render_report(inputs: ReportInputs) -> str:
    """The report as HTML; every text in it is escaped, and nothing is fetched from anywhere.

    Sections of which nothing is known (slices, errors, frontier, training) are left out.
    """
    environment = Environment(
        loader=PackageLoader("multimodal.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rows = {result.task: [score_row(score) for score in result.scores] for result in inputs.results}
    found = [task_errors(result, inputs.options.normaliser) for result in inputs.results]
    judged = [row for task_rows in rows.values() for row in task_rows if row.verdict]
    controls = [name for name in CONTROL_MEANINGS if any(name == c.name for row in _all(rows) for c in row.controls)]
    return environment.get_template("report.html.j2").render(
        facts=_facts(inputs),
        name=inputs.facts.get("pipeline", "multimodal"),
        promotion=inputs.facts.get("promotion", ""),
        titles=TASK_TITLES,
        meanings=TASK_MEANINGS,
        results={result.task: result for result in inputs.results},
        skipped=inputs.skipped,
        headlines=[headline(result) for result in inputs.results],
        rows=rows,
        controls={name: CONTROL_MEANINGS[name] for name in controls},
        has_interval=any(row.interval for row in _all(rows)),
        has_copied=any(row.copied for row in _all(rows)),
        beaten=sum(row.score.beats_controls for row in judged),
        total=len(judged),
        blind=[row for row in judged if row.blind],
        slices={result.task: slice_rows(result) for result in inputs.results if result.slices},
        min_slice=MIN_SLICE,
        errors=[errors for errors in found if errors.words or errors.objects or errors.gaps],
        frontier=frontier_charts([point for result in inputs.results for point in result.frontier], TASK_TITLES),
        charts=training_charts(inputs.history),
        card=data_card(inputs.dataset, _decontamination(inputs.results)),
        quarantined=quarantined_media(inputs.dataset),
        first=FIRST,
        gallery=script_json(_gallery(inputs)),
    )


def stamp_verdict(html: str, promoted: bool, text: str) -> str:
    """The same page with the gate's verdict at its head, in place of what stood there.

    Args:
        html: a finished report.
        promoted: whether the version became the champion.
        text: the verdict in a sentence, with the reason; it is escaped here.
    """
    return _STAMP.sub(lambda _: _verdict_block(promoted, text), html, count=1)


def _verdict_block(promoted: bool, text: str) -> str:
    kind = "good" if promoted else "bad"
    return f'<!--verdict--><p class="stamp {kind}">{escape(text)}</p><!--/verdict-->'


def script_json(values: Any) -> Markup:
    """JSON that can stand inside a script element whatever its texts hold."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def task_errors(result: TaskResult, normaliser: NormaliserName = "none") -> TaskErrors:
    """What goes wrong in a task: words of transcripts and cleaned texts, objects of captions, words of gaps."""
    hypotheses, firsts = result.answers.model, [item.references[0] for item in result.items]
    if result.task in (Task.TRANSCRIBE, Task.DENOISE):
        return TaskErrors(result.task, words=word_errors(hypotheses, firsts, normaliser))
    if result.task is Task.CAPTION:
        return TaskErrors(result.task, objects=object_errors(result.items, hypotheses))
    if result.task is Task.INFILL:
        pairs: dict[tuple[str, str], int] = {}
        for pair in zip(firsts, hypotheses, strict=True):
            pairs[pair] = pairs.get(pair, 0) + 1
        return TaskErrors(result.task, gaps=confusions((*pair, count) for pair, count in pairs.items()))
    return TaskErrors(result.task)


def _all(rows: Mapping[Task, Sequence[Any]]) -> list[Any]:
    return [row for task_rows in rows.values() for row in task_rows]


def _decontamination(results: Sequence[TaskResult]) -> Decontamination | None:
    whole = sum((result.decontamination for result in results), Decontamination())
    return whole if whole.checked else None


def _gallery(inputs: ReportInputs) -> dict[str, Any]:
    with_media = [result for result in inputs.results if result.task.modality is not Modality.TEXT]
    share = MEDIA_BYTES // max(1, len(with_media))
    return {
        str(result.task): {
            "title": TASK_TITLES[result.task],
            **gallery_task(result, inputs, share),
            "films": player_films(result, inputs),
        }
        for result in inputs.results
    }


def _facts(inputs: ReportInputs) -> dict[str, str]:
    texts = sum(len(result.items) for result in inputs.results)
    seconds = sum(result.seconds for result in inputs.results)
    nfe = sum(result.nfe * len(result.items) for result in inputs.results) / max(1, texts)
    sampler = inputs.sampler
    by_type = ", ".join(f"{scale:g} by {name}" for name, scale in sampler.guidance.items())
    given = {name: text for name, text in inputs.facts.items() if name not in ("pipeline", "promotion")}
    return {
        **given,
        "split": f"{inputs.options.split}, {texts:,} texts written",
        "dataset": inputs.dataset.info.fingerprint,
        "sampler": f"at most {sampler.num_steps} steps, threshold {sampler.threshold:g}, temperature "
        f"{sampler.temperature:g}, guidance {by_type or f'{sampler.guidance_scale:g}'}",
        "speed": f"{nfe:.1f} denoiser calls per text, {texts / max(seconds, 1e-9):,.0f} texts/s",
    }
