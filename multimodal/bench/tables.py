"""The tables of a comparison, for the log and the page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from multimodal.bench.contenders import Trained
from multimodal.bench.options import DEFAULT
from multimodal.bench.scores import PointScore
from multimodal.bench.verdicts import Comparison, Verdict, shown_gain
from multimodal.evaluation.metrics import METRICS
from multimodal.sample import Task


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows and columns.

    Args:
        title: what it shows.
        note: how to read it.
    """

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def markdown(self) -> str:
        """As conf/LOG.md holds tables."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        return f"**{self.title}** {self.note}\n\n{body}\n"


def all_tables(comparison: Comparison, trained: Sequence[Trained], verdicts: Sequence[Verdict]) -> list[Table]:
    """Goals first, then quality, latency, training, and every point."""
    tables = [
        verdict_table(verdicts),
        quality_table(comparison),
        latency_table(comparison),
        training_table(comparison, trained),
        points_table(comparison),
    ]
    return [table for table in tables if table.rows]


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Each goal."""
    rows = tuple((verdict.goal, verdict.word, verdict.measured) for verdict in verdicts)
    note = "Rivals and rises in steps are judged with intervals corrected for their number (Bonferroni)."
    return Table("Goals.", note, ("goal", "", "measured"), rows)


def quality_table(comparison: Comparison) -> Table:
    """Every compared metric of every contender at its default."""
    twin = comparison.options.twin
    others = {(s.task, s.metric): s for s in comparison.scores if (s.contender, s.point) == (twin, DEFAULT)}
    rows = []
    for score in sorted(
        (score for score in comparison.scores if score.point == DEFAULT),
        key=lambda score: (list(Task).index(score.task), not score.is_main),  # contenders in their own order
    ):
        other = others.get((score.task, score.metric))
        gain = "" if other is None or other is score else shown_gain(comparison.difference(score, other))
        arrow = "" if score.higher_is_better else " (less is better)"
        rows.append(
            (str(score.task), METRICS[score.metric].title + arrow, score.contender, shown_mean(score),
             _shown_seeds(score), f"{score.nfe:.2f}", gain)
        )  # fmt: skip
    columns = ("task", "metric", "contender", "mean ± sd", "seeds (95 % interval)", "calls", f"gain over {twin}")
    note = (
        "Test samples; intervals by bootstrap over samples; gains paired by sample over all seeds, above 0 is better."
    )
    return Table("Quality.", note, columns, tuple(rows))


def shown_mean(score: PointScore) -> str:
    """Mean over seeds, with their standard deviation where there are several."""
    return f"{score.mean:.3f}" + ("" if score.spread is None else f" ± {score.spread:.3f}")


def _shown_seeds(score: PointScore) -> str:
    intervals = {seed: "{:.3f} to {:.3f}".format(*interval) for seed, interval in score.intervals.items()}
    return "; ".join(f"{value:.3f} ({intervals[seed]})" for seed, value in score.values.items())


def latency_table(comparison: Comparison) -> Table:
    """Milliseconds per text at each contender's default."""
    latencies = [one for one in comparison.speed.latencies if one.point == DEFAULT]
    tasks = list(dict.fromkeys(one.task for one in latencies))
    rows = []
    for name in dict.fromkeys(one.contender for one in latencies):
        for size in comparison.options.timing.batch_sizes:
            ms = {one.task: one.ms_per_text for one in latencies if (one.contender, one.batch_size) == (name, size)}
            rows.append((name, str(size), *(f"{ms[task]:.1f}" for task in tasks)))
    encoders = ", ".join(f"{modality} {ms:.1f}" for modality, ms in comparison.speed.encoder_ms.items())
    note = f"Milliseconds per text from latents to text, {comparison.speed.threads} threads, median." + (
        f" The encoders take, for one content alone: {encoders} ms." if encoders else ""
    )
    return Table("Latency.", note, ("contender", "batch", *map(str, tasks)), tuple(rows))


def training_table(comparison: Comparison, trained: Sequence[Trained]) -> Table:
    """Each contender's size and training."""
    throughput = {one.contender: one for one in comparison.speed.training}
    rows = []
    for name in dict.fromkeys(one.contender for one in trained):
        results = [one.result for one in trained if one.contender == name]
        speed = throughput.get(name)
        cells = ("", "", "")
        if speed is not None:
            tokens, bare = speed.tokens_per_second, speed.bare_tokens_per_second
            cells = (f"{tokens:,.0f}", f"{bare:,.0f}", f"{100 * tokens / bare:.0f} %")
        rows.append(
            (name, f"{results[0].num_parameters:,}", "; ".join(f"{result.steps:,}" for result in results),
             "; ".join(f"{result.minutes:.1f}" for result in results),
             "; ".join(f"{result.val_score:.3f}" for result in results), *cells)
        )  # fmt: skip
    columns = ("contender", "parameters", "steps", "minutes", "val score", "tokens/s", "bare loop's", "share")
    note = "One value per seed; the bare loop is forward, backward and optimiser step on one batch."
    return Table("Training.", note, columns, tuple(rows))


def points_table(comparison: Comparison) -> Table:
    """The main metric of every task at every point, with calls and milliseconds at the smallest batch."""
    smallest = min(comparison.options.timing.batch_sizes)
    ms = {(o.contender, o.point, o.task): o.ms_per_text for o in comparison.speed.latencies if o.batch_size == smallest}
    main = [score for score in comparison.scores if score.is_main]
    tasks = list(dict.fromkeys(score.task for score in main))
    cells = {
        (s.contender, s.point, s.task): f"{s.mean:.3f} ({s.nfe:.2f}; {ms[s.contender, s.point, s.task]:.1f})"
        for s in main
    }
    points = dict.fromkeys((score.contender, score.point) for score in main)
    rows = tuple((name, point, *(cells[name, point, task] for task in tasks)) for name, point in points)
    named = {score.task: METRICS[score.metric].title for score in main}
    note = f"Main metric, mean over seeds (calls; milliseconds per text at batch {smallest})."
    return Table("Every point.", note, ("contender", "sampler", *(f"{t} {named[t]}" for t in tasks)), rows)
