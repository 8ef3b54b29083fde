"""`multimodal models ...` and `multimodal rollback`: what the registry holds, compared, moved and tidied."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from flows.console import console, show_facts
from multimodal.evaluation.statistics import paired_permutation, seed_spread
from multimodal.promotion import Evidence, compare, differences, latencies, main_scores, rules_table
from multimodal.registry import (
    ModelVersionInfo,
    champion_history,
    description_of,
    evidence_of,
    facts_of,
    list_versions,
    promote_version,
    registered_names,
    removable_versions,
    remove_versions,
    rollback,
    tags_of,
    the_version,
    version_bytes,
)
from multimodal.tracking import flatten

Rows = Sequence[Mapping[str, Any]]


def list_models(workspace: Path, model: str | None, as_json: bool) -> None:
    """All versions of one model, or of all."""
    names = [model] if model else registered_names(workspace)
    versions = [info for name in names for info in list_versions(workspace, name)]
    if as_json:
        _print_json([_plain(info) for info in versions])
        return
    rows = [
        {
            "model": info.name,
            "version": info.version,
            "aliases": ", ".join(info.aliases),
            "val score": _number(info.score),
            "gate": _verdict(info),
            "why": info.reason,
        }
        for info in versions
    ]
    _show(rows, "Registered models", empty="nothing is registered: `multimodal run CONF` registers a model")


def show_model(workspace: Path, model: str, which: str, as_json: bool) -> None:
    """One version: its verdicts, its scores, its frontier and its card."""
    info = the_version(workspace, model, which)
    evidence, tags = evidence_of(workspace, info), tags_of(workspace, info)
    report = evidence.report or {}
    card = description_of(workspace, info)
    history = champion_history(workspace, model)
    if as_json:
        values = {"tags": tags, "report": report, "description": card, "history": history}
        _print_json(_plain(info) | values)
        return
    facts = {
        "model": f"{info.name} version {info.version}",
        "aliases": ", ".join(info.aliases) or "none",
        "val score": _number(info.score),
        "why": info.reason,
        "package": info.fingerprint,
        "run": info.run_id,
        "champions": " -> ".join(map(str, history)) or "none yet",
    }
    show_facts(facts)
    _show(rules_table(info.gate), "Promotion gate")
    _show(_frontier_rows(report), "Quality and latency by denoising steps")
    console().print(Markdown(card.partition("## Configuration")[0] or "(no model card)"))


def compare_models(workspace: Path, model: str, first: str, second: str, as_json: bool) -> None:
    """Scores of two versions side by side, and the gain of the second over the first with its interval."""
    infos = [the_version(workspace, model, which) for which in (first, second)]
    before, after = (evidence_of(workspace, info) for info in infos)
    gain = compare(after, before)
    chances = _chances(before, after)
    rows = _score_rows(before.report or {}, after.report or {}, infos)
    if as_json:
        versions = [info.version for info in infos]
        values = {"versions": versions, "gain": asdict(gain) if gain else None, "permutation_p": chances}
        _print_json(values | {"scores": rows})
        return
    _show(
        rows, f"{model}: version {infos[0].version} and version {infos[1].version}", empty="neither has an evaluation"
    )
    facts = {"val scores": " -> ".join(_number(info.score) for info in infos)}
    if gain is not None:
        sure = "" if math.isnan(gain.low) else f", 95 % interval {gain.low:+.4f} to {gain.high:+.4f}"
        facts |= {"gain": f"{gain.value:+.4f}{sure} (0 to 1, all tasks alike)", "by": gain.basis}
        facts |= {
            f"gain, {task}": f"{value:+.4f}" + (f", permutation p {chances[task]:.4f}" if task in chances else "")
            for task, value in gain.per_task.items()
        }
    show_facts(facts)


def diff_models(workspace: Path, model: str, first: str, second: str, as_json: bool) -> None:
    """What two versions were made from, where it differs: configuration, data, encoders, weights, code."""
    infos = [the_version(workspace, model, which) for which in (first, second)]
    before, after = (_made_from(workspace, info) for info in infos)
    rows = [
        {"what": key, "before": before.get(key), "after": after.get(key)}
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]
    if as_json:
        _print_json(rows)
        return
    names = {"before": f"version {infos[0].version}", "after": f"version {infos[1].version}"}
    shown = [{names.get(key, key): value for key, value in row.items()} for row in rows]
    _show(shown, f"{model}: what differs", empty="made from the same configuration, data, encoders and code")


def spread_models(workspace: Path, model: str, which: Sequence[str], as_json: bool) -> None:
    """Mean and standard deviation of each score over versions that differ in their seed; what else differs is said."""
    infos = [the_version(workspace, model, version) for version in which]
    scores = [
        {(score["task"], score["metric"]): score["value"] for score in (evidence.report or {}).get("scores", ())}
        for evidence in (evidence_of(workspace, info) for info in infos)
    ]
    rows: list[dict[str, Any]] = []
    for task, metric in (key for key in scores[0] if all(key in others for others in scores)):
        values = [others[task, metric] for others in scores]
        mean, deviation = seed_spread(values)
        row = {"task": task, "metric": metric, "mean": mean, "standard deviation": deviation}
        rows.append(row | {f"version {info.version}": value for info, value in zip(infos, values, strict=True)})
    made = [_made_from(workspace, info) for info in infos]
    keys = sorted({key for facts in made for key in facts if len({other.get(key) for other in made}) > 1})
    causes = [key for key in keys if key.startswith(("config.", "data.", "code.")) and key != "config.seed"]
    if as_json:
        _print_json({"versions": [info.version for info in infos], "scores": rows, "differ in": causes})
        return
    _show(rows, f"{model}: spread over {len(infos)} versions", empty="the versions share no scores")
    if causes:
        console().print(f"not only the seed differs: {', '.join(causes)}")


def roll_back(workspace: Path, model: str, as_json: bool) -> None:
    """The champion before the present one becomes champion again."""
    info = rollback(workspace, model)
    _say_champion(workspace, info, as_json)


def promote_model(workspace: Path, model: str, which: str, as_json: bool) -> None:
    """A version becomes champion by a person's decision, whatever the gate said."""
    info = promote_version(workspace, the_version(workspace, model, which), "promoted by hand")
    _say_champion(workspace, info, as_json)


def collect_garbage(workspace: Path, model: str | None, yes: bool, as_json: bool) -> None:
    """List the versions that nothing needs, and remove them with `yes`."""
    names = [model] if model else registered_names(workspace)
    found = [info for name in names for info in removable_versions(workspace, name)]
    sizes = {(info.name, info.version): version_bytes(workspace, info) for info in found}
    removed = []
    if yes:
        for name in names:
            chosen = [info.version for info in found if info.name == name]
            removed += remove_versions(workspace, name, chosen)
    rows = [
        {"model": info.name, "version": info.version, "MB": round(sizes[info.name, info.version] / 1e6, 1)}
        for info in (removed if yes else found)
    ]
    if as_json:
        _print_json({"removed": yes, "versions": rows})
        return
    _show(rows, "Removed" if yes else "Would be removed", empty="nothing to remove")
    if rows and not yes:
        console().print("The champion, what aliases point to and the three champions before stay. Remove with --yes.")


def _say_champion(workspace: Path, info: ModelVersionInfo, as_json: bool) -> None:
    history = champion_history(workspace, info.name)
    if as_json:
        _print_json(_plain(info) | {"history": history})
        return
    console().print(f"{info.name}: version {info.version} is champion (champions: {' -> '.join(map(str, history))})")


def _made_from(workspace: Path, info: ModelVersionInfo) -> dict[str, str]:
    facts = {key: value for key, value in facts_of(workspace, info).items() if key not in ("name", "version", "origin")}
    if facts:
        return flatten(facts)
    tags = tags_of(workspace, info)  # registered before facts were stored
    return {key: value for key, value in tags.items() if key.endswith("fingerprint")}


def _chances(before: Evidence, after: Evidence) -> dict[str, float]:
    """Task -> probability of so great a gain if the versions were equal, by permutation of pairs."""
    gains = {task: differences(after.tasks[task], before.tasks[task]) for task in after.tasks if task in before.tasks}
    return {
        task: paired_permutation(found.tolist(), [0.0] * len(found)).p_value
        for task, found in gains.items()
        if len(found)
    }


def _score_rows(
    before: Mapping[str, Any], after: Mapping[str, Any], infos: Sequence[ModelVersionInfo]
) -> list[dict[str, Any]]:
    old, new = ({(s["task"], s["metric"]): s for s in report.get("scores", ())} for report in (before, after))
    main = {(task, score["metric"]) for report in (before, after) for task, score in main_scores(report).items()}
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys([*old, *new]):
        values = [scores[key]["value"] if key in scores else None for scores in (old, new)]
        row = {"task": key[0], "metric": key[1] + (" *" if key in main else "")}
        rows.append(row | {f"version {info.version}": value for info, value in zip(infos, values, strict=True)})
    speeds = [latencies(report) if report else {} for report in (before, after)]
    for task in dict.fromkeys([*speeds[0], *speeds[1]]):
        pairs = zip(infos, speeds, strict=True)
        row = {"task": task, "metric": "ms per text"}
        rows.append(row | {f"version {info.version}": speed.get(task) for info, speed in pairs})
    return rows


def _frontier_rows(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    names = ("task", "num_steps", "nfe", "ms_per_sample", "metric", "value")
    return [{name: point[name] for name in names} for point in report.get("frontier", ())]


def _verdict(info: ModelVersionInfo) -> str:
    if not info.gate:
        return ""
    failed = [rule.name for rule in info.gate if not rule.passed]
    return f"failed {', '.join(failed)}" if failed else "passed"


def _plain(info: ModelVersionInfo) -> dict[str, Any]:
    return asdict(info)


def _print_json(value: Any) -> None:
    console().out(json.dumps(_finite(value), ensure_ascii=False, indent=1), highlight=False)


def _finite(value: Any) -> Any:
    """JSON has no nan: null."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _show(rows: Rows, title: str, empty: str = "") -> None:
    if not rows:
        if empty:
            console().print(empty)
        return
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="right" if _all_numbers(rows, column) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[column]), style=_style(row[column])) for column in rows[0]))
    console().print(table)


def _all_numbers(rows: Rows, column: str) -> bool:
    return all(isinstance(row[column], int | float) or row[column] is None for row in rows)


def _style(value: Any) -> str:
    failed = isinstance(value, str) and value.startswith("failed")
    return "bold red" if failed else "green" if value == "passed" else ""


def _cell(value: Any) -> str:
    return "" if value is None else _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"
