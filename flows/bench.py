"""`multimodal bench decoder CONF`: decoders compared on one dataset and its latents.

ingest ──> (pretrain) ──> encode ──> train every contender with every seed ──> write, time, score, report
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows import pretrain
from flows.console import console, show_facts, show_intentions
from flows.pipeline import Intention, dry_run, pipeline, read_config
from multimodal.bench.contenders import Materials
from multimodal.bench.options import BenchOptions, read_bench
from multimodal.bench.results import PAGE, RESULTS, TABLE, Results
from multimodal.bench.run import Bench
from multimodal.pairs.filtered import open_dataset


def compare_decoders(conf: Path, overrides: Sequence[str]) -> Results:
    """Run the stages that all contenders share, and the comparison.

    Raises:
        ConfigError: the file, its base or a contender is wrong.
    """
    options = read_bench(conf, overrides)
    config = read_config(str(options.base), options.base_overrides())
    shared = pipeline(str(options.base), options.base_overrides(), "encode")
    assert shared.encoded is not None
    encoders = pretrain.encoders_of(config, shared.dataset)
    dataset = open_dataset(shared.dataset.path, shared.encoded.pairs)
    materials = Materials(dataset, shared.encoded.by_modality, encoders, config.workspace)
    columns = (TextColumn("[bold]{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console()) as bar:
        rows = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in rows:
                rows[what] = bar.add_task(escape(what), total=total)
            bar.update(rows[what], completed=done, total=total)

        return Bench(options, materials, progress).run()


def show_comparison(results: Results) -> None:
    """The goals, and where to look further."""
    table = Table(title="Goals of the comparison", title_justify="left")
    for column in ("goal", "", "measured"):
        table.add_column(column, overflow="fold")
    styles = {True: "green", False: "red", None: "yellow"}
    for verdict in results.verdicts:
        table.add_row(escape(verdict.goal), verdict.word, escape(verdict.measured), style=styles[verdict.met])
    console().print(table)
    names = {"page": PAGE, "tables": TABLE, "all results": RESULTS}
    show_facts({what: str(results.folder / name) for what, name in names.items()})


def show_bench_intentions(options: BenchOptions) -> None:
    """What a comparison would do: the stages that contenders share, and the trainings."""
    config = read_config(str(options.base), options.base_overrides())
    budget = f"{options.budget.steps} steps" if options.budget.steps else f"{options.budget.minutes:g} minutes"
    count = len(options.competing) * len(options.seeds)
    why = f"{count} of {budget} each, but for those that are done: {', '.join(options.competing)}"
    show_intentions([*dry_run(config, "encode"), Intention("trainings", True, why)])
