"""What a comparison leaves.

<workspace>/bench/<name>/
  results.json          all items and texts, scores by sample, times, goals: every table can be made from it again
  table.md              the tables, for conf/LOG.md
  quality-nfe.png       quality against calls of the decoder
  quality-latency.png   quality against milliseconds
  bench.html            all of it on one self-contained page
  texts/, speed/        finished parts, which the same command finds again
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from multimodal.bench.contenders import Trained
from multimodal.bench.plots import quality_against_calls, quality_against_latency
from multimodal.bench.tables import Table, all_tables
from multimodal.bench.texts import Written, raw
from multimodal.bench.verdicts import Comparison, Verdict
from multimodal.evaluation.items import Item
from multimodal.figures import as_png, as_svg
from multimodal.fingerprint import write_file, write_json
from multimodal.sample import Task

RESULTS, TABLE, PAGE = "results.json", "table.md", "bench.html"
PLOTS = {"quality-nfe": quality_against_calls, "quality-latency": quality_against_latency}


@dataclass(frozen=True)
class Results:
    """A finished comparison.

    Args:
        folder: of its files.
        comparison: what was measured.
        trained: whose texts they are.
        verdicts: the goals.
    """

    folder: Path
    comparison: Comparison
    trained: tuple[Trained, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        return all_tables(self.comparison, self.trained, self.verdicts)


def write_results(results: Results, written: Sequence[Written], items: Mapping[Task, Sequence[Item]]) -> None:
    """Write all files of a comparison; the page last."""
    tables = results.tables
    write_json(results.folder / RESULTS, as_json(results) | raw(written, items))
    write_file(results.folder / TABLE, "\n".join(table.markdown for table in tables).encode())
    figures = {name: draw(results.comparison) for name, draw in PLOTS.items()}
    for name, figure in figures.items():
        write_file(results.folder / f"{name}.png", as_png(figure))
    pictures = {name: Markup(as_svg(figure)) for name, figure in figures.items()}
    page = _template().render(options=results.comparison.options, tables=tables, pictures=pictures)
    write_file(results.folder / PAGE, page.encode())


def as_json(results: Results) -> dict[str, Any]:
    """All but items and texts, as JSON values."""
    comparison = results.comparison
    return {
        "options": comparison.options.model_dump(mode="json"),
        "trainings": [asdict(one) for one in results.trained],
        "scores": [asdict(score) | {"each": score.each.tolist()} for score in comparison.scores],
        "speed": asdict(comparison.speed),
        "verdicts": [asdict(verdict) for verdict in results.verdicts],
    }


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("multimodal.bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("bench.html.j2")
