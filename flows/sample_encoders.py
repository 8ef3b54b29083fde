"""`multimodal pretrain CONF`: the sample encoders, from freshly generated scenes, utterances and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows.console import console
from multimodal.config import load_options
from multimodal.encoders.options import SampleEncodersOptions
from multimodal.sample import Modality


def make_sample_encoders(conf: Path, overrides: Sequence[str]) -> None:
    """Train and save the towers that the configuration names, one after the other.

    Raises:
        ConfigError: the configuration is wrong.
        EncoderError: an architecture is absent, or espeak-ng is missing.
    """
    options = load_options(SampleEncodersOptions, conf, overrides)
    from multimodal.encoders.pretraining import pretrain_sample_tower

    columns = (TextColumn("[bold]{task.fields[tower]:<6}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.description}"), console=console()) as bar:
        for modality in Modality:
            if options.model_dump()[modality] is None:
                continue
            row = bar.add_task("", total=None, tower=str(modality))

            def progress(done: int, total: int, row: object = row) -> None:
                bar.update(row, completed=done, total=total)  # type: ignore[arg-type]

            def log(step: int, metrics: Mapping[str, float], row: object = row) -> None:
                shown = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
                bar.update(row, description=shown)  # type: ignore[arg-type]

            path = pretrain_sample_tower(options, modality, progress=progress, log=log)
            bar.console.print(f"{modality}: {path}")
