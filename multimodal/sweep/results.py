"""What is written of a sweep, after every trial: the best configuration, the trials, the pictures and the page.

<workspace>/sweeps/<name>/<fingerprint>/
  study.db           Optuna's trials; the same command goes on with them
  best.yaml          the best configuration, for `multimodal run`
  trials.json        every trial: values, score, curve, why it ended
  importance.svg     how much of the score's variance each key explains; also as importance.png
  sweep.html         all of it on one self-contained page
  index.json         what the sweep depends on, by name, and its best trial
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from multimodal.config import load_config
from multimodal.errors import MultimodalError
from multimodal.figures import as_png, as_svg
from multimodal.fingerprint import INDEX, write_file, write_json
from multimodal.sweep.options import SweepOptions, Value, override
from multimodal.sweep.plots import curves_figure, history_figure, importance_figure
from multimodal.sweep.study import Sweep, TrialRecord

BEST, TRIALS, PAGE = "best.yaml", "trials.json", "sweep.html"
IMPORTANCE_SVG, IMPORTANCE_PNG = "importance.svg", "importance.png"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep has found so far.

    Args:
        folder: of the sweep.
        trials: that ended, in order.
        best: the completed trial with the best sampled val score.
        base: the completed trial of the base's own values; None where the space does not hold them.
        importances: key -> share of the score's variance that it explains; empty with too few trials.
        reason: why the sweep was taken up, or that it was unchanged.
    """

    folder: Path
    trials: tuple[TrialRecord, ...]
    best: TrialRecord
    base: TrialRecord | None
    importances: Mapping[str, float]
    reason: str

    @property
    def page(self) -> Path:
        """The self-contained report."""
        return self.folder / PAGE

    @property
    def config(self) -> Path:
        """The best configuration."""
        return self.folder / BEST

    @property
    def files(self) -> tuple[Path, ...]:
        """All that a run stores as artifacts."""
        names = (PAGE, BEST, TRIALS, IMPORTANCE_SVG, IMPORTANCE_PNG)
        return tuple(self.folder / name for name in names if (self.folder / name).is_file())

    @property
    def line(self) -> str:
        """One line for people."""
        ends = [record.end for record in self.trials]
        shown = f"best {self.best.score:.3f} (trial {self.best.number})"
        base = "" if self.base is None else f", the base's own {self.base.score:.3f}"
        return f"{shown}{base}; {', '.join(f'{ends.count(end)} {end}' for end in dict.fromkeys(ends))}"


def write_results(sweep: Sweep, parts: Mapping[str, Any], reason: str) -> SweepResult | None:
    """Write the files of a sweep; None, and nothing written, while no trial is completed.

    Args:
        sweep: with its trials.
        parts: what the sweep depends on, by name; its fingerprint is the folder's name.
        reason: why it was taken up.
    """
    best = sweep.best
    if best is None:
        return None
    result = SweepResult(sweep.folder, sweep.records, best, sweep.base, sweep.importances(), reason)
    text = best_config(sweep.options, result)
    write_file(result.config, text.encode())
    write_json(sweep.folder / TRIALS, [asdict(record) for record in result.trials])
    if result.importances:
        figure = importance_figure(result.importances)
        write_file(sweep.folder / IMPORTANCE_SVG, as_svg(figure).encode())
        write_file(sweep.folder / IMPORTANCE_PNG, as_png(figure))
    write_file(result.page, draw_page(sweep.options, result, text).encode())
    write_json(sweep.folder / INDEX, {"parts": dict(parts), "result": {"best": best.number, "score": best.score}})
    return result


def finished(result: SweepResult | None, trials: tuple[TrialRecord, ...]) -> SweepResult:
    """The result of a sweep that is done.

    Raises:
        MultimodalError: no trial was completed.
    """
    if result is None:
        last = f"; the last one: {trials[-1].reason}" if trials else ""
        raise MultimodalError(f"none of {len(trials)} trials was completed{last}; raise `trials`, or mend the space")
    return result


def best_config(options: SweepOptions, result: SweepResult) -> str:
    """The base with the best trial's values, as YAML that `multimodal run` takes; keys that nobody set stay away."""
    best, base = result.best, result.base
    values = [override(key, value) for key, value in best.params.items()]
    config = load_config(options.base, [*options.base_overrides(), *values])
    against = "" if base is None else f" The base's own values: {base.score:.4f}."
    opening = (
        f"# The best of {len(result.trials)} trials of the sweep '{options.name}' over {options.base}: trial "
        f"{best.number}, sampled val score {best.score:.4f}.{against}\n"
        f"#   multimodal run {result.config}\n"
    )
    body = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True)
    return opening + body


def draw_page(options: SweepOptions, result: SweepResult, config: str) -> str:
    """The page of a sweep: everything is in the one file."""
    keys = list(options.space)
    return _template().render(
        options=options,
        result=result,
        keys=keys,
        space={key: describe(options, key) for key in keys},
        rows=sorted(result.trials, key=lambda record: (record.score is None, -(record.score or 0.0), record.number)),
        shown=shown,
        config=config,
        importance=Markup(as_svg(importance_figure(result.importances))) if result.importances else "",
        history=Markup(as_svg(history_figure(result.trials))),
        curves=Markup(as_svg(curves_figure(result.trials, result.best.number))),
    )


def describe(options: SweepOptions, key: str) -> str:
    """The values that a key may take, in words."""
    dimension = options.space[key]
    if dimension.choices:
        return "one of " + ", ".join(shown(value) for value in dimension.choices)
    step = "" if dimension.step is None else f" in steps of {shown(dimension.step)}"
    return f"{shown(dimension.low)} to {shown(dimension.high)}{step}{', logarithmic' if dimension.log else ''}"


def shown(value: Value) -> str:
    """A value for people: four digits are enough."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("multimodal.sweep"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("sweep.html.j2")
