"""The model card: what a registered version is, from facts alone, as Markdown for the registry's description.

The facts are one nested mapping of JSON values, stored with the version, so that two versions can be compared
(`multimodal models diff`) and the card can be made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multimodal.fingerprint import INDEX, file_digest
from multimodal.promotion import Rule, main_scores, rules_table

NOT_STATED = "not stated"


def package_facts(path: Path) -> dict[str, Any]:
    """What a model package says of itself: SHA-256 of its files, encoders, sampler, library version.

    Args:
        path: a finished package folder.
    """
    index = json.loads((path / INDEX).read_text())
    return {
        "package": path.name,
        "library": index["library"],
        "sampler": index["sampler"],
        "encoders": {
            name: {
                "fingerprint": index["parts"]["encoders"][name],
                "kind": options.get("kind", ""),
                "files": _files_of(index["files"], name),
            }
            for name, options in index["encoders"].items()
        },
        "decoder": {name: digest for name, digest in index["files"].items() if "/" not in name},
        "index": file_digest(path / INDEX),
    }


def model_card(facts: Mapping[str, Any], report: Mapping[str, Any] | None = None, rules: Sequence[Rule] = ()) -> str:
    """The card as Markdown.

    Args:
        facts: `name`, `version`, `config`, `data`, `package`, `training` and `code`, as `flows.register` gathers them;
            what is missing is left out.
        report: what report.json of its evaluation holds.
        rules: verdicts of the promotion gate.
    """
    sections = {
        "": _opening(facts),
        "Scores": _scores(report) if report else "",
        "Worst slices": _worst(report) if report else "",
        "Promotion gate": _table(rules_table(rules), ("rule", "verdict", "value", "limit", "why")),
        "Data": _data(facts.get("data", {})),
        "Encoders and weights": _weights(facts.get("package", {})),
        "Limits": _limits(facts, report),
        "How to load": _loading(facts),
        "Made by": _origin(facts),
        "Configuration": _configuration(facts.get("config", {})),
    }
    parts = [f"## {title}\n\n{text}" if title else text for title, text in sections.items() if text]
    return "\n\n".join(parts) + "\n"


def _files_of(files: Mapping[str, str], encoder: str) -> dict[str, str]:
    prefix = f"encoders/{encoder}/"
    return {name.removeprefix(prefix): digest for name, digest in files.items() if name.startswith(prefix)}


def _opening(facts: Mapping[str, Any]) -> str:
    training = facts.get("training", {})
    tasks = ", ".join(facts.get("data", {}).get("by_task", {})) or "text"
    size = f"{training['parameters'] / 1e6:.1f} M parameters" if "parameters" in training else "size not stated"
    steps = f", {training['steps']:,} steps in {training['minutes']:.1f} minutes" if "steps" in training else ""
    title = f"# {facts['name']}" + (f" version {facts['version']}" if "version" in facts else "")
    return f"{title}\n\nA diffusion decoder over frozen encoders that writes: {tasks}. {size}{steps}."


def _scores(report: Mapping[str, Any]) -> str:
    main = {(task, score["metric"]) for task, score in main_scores(report).items()}
    rows = [
        {
            "task": f"**{score['task']}**" if (score["task"], score["metric"]) in main else score["task"],
            "metric": score["metric"] + ("" if score["higher_is_better"] else " (less is better)"),
            "score": _number(score["value"]),
            "95 % interval": _interval(score.get("interval")),
            "constant": _number(score["constant"]),
            "nearest": _number(score["nearest"]),
            "shuffled": _number(score["shuffled"]),
            "null": _number(score.get("null")),
        }
        for score in report["scores"]
    ]
    counts = ", ".join(f"{task} {facts['samples']:,}" for task, facts in report["tasks"].items())
    table = _table(rows, tuple(rows[0]) if rows else ())
    return f"On the {report['split']} split ({counts} samples), beside the controls.\n\n{table}"


def _worst(report: Mapping[str, Any]) -> str:
    worst = {task: facts["worst_slice"] for task, facts in report["tasks"].items() if facts.get("worst_slice")}
    rows = [
        {
            "task": task,
            "slice": part["slice"],
            "metric": part["metric"],
            "score": _number(part["value"]),
            "samples": part["samples"],
        }
        for task, part in worst.items()
    ]
    return _table(rows, ("task", "slice", "metric", "score", "samples"))


def _data(data: Mapping[str, Any]) -> str:
    if not data:
        return ""
    rows = [
        {"source": name, "task": source["task"], "licence": source.get("licence") or NOT_STATED, "path": source["path"]}
        for name, source in data.get("sources", {}).items()
    ]
    counts = data.get("counts", {})
    lines = [
        f"Dataset `{data['fingerprint']}`, SHA-256 of its samples `{data['digest']}`.",
        f"{counts['rows']:,} rows: {counts['kept']:,} kept, {counts['quarantined']:,} quarantined"
        f"{_reasons(data.get('by_reason', {}))}, {counts['duplicate']:,} duplicates. "
        + ", ".join(f"{split} {count:,}" for split, count in data.get("by_split", {}).items())
        + ".",
    ]
    return "\n\n".join([*lines, _table(rows, ("source", "task", "licence", "path"))])


def _reasons(reasons: Mapping[str, int]) -> str:
    named = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    return f" ({named})" if named else ""


def _weights(package: Mapping[str, Any]) -> str:
    if not package:
        return ""
    rows: list[dict[str, Any]] = [
        {"part": "decoder", "file": name, "SHA-256": f"`{digest}`"} for name, digest in package["decoder"].items()
    ]
    for name, encoder in package["encoders"].items():
        kind = f"{name} ({encoder['kind']})" if encoder["kind"] else name
        rows += [{"part": kind, "file": file, "SHA-256": f"`{digest}`"} for file, digest in encoder["files"].items()]
    return f"Package `{package['package']}`.\n\n" + _table(rows, ("part", "file", "SHA-256"))


def _limits(facts: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    lines = ["It has seen the sources above and nothing else: on other media and texts its scores do not hold."]
    canvas = facts.get("config", {}).get("tokenizer", {}).get("max_tokens")
    if canvas:
        lines.append(f"A text has at most {canvas} tokens; longer ones were left out of training.")
    for task, reason in (report or {}).get("skipped", {}).items():
        lines.append(f"{task} was not evaluated: {reason}.")
    blind = [
        f"{score['task']} {score['metric']}"
        for score in (report or {}).get("scores", ())
        if not score["beats_controls"]
    ]
    if blind:
        lines.append(f"Does not beat all of its controls in: {', '.join(blind)}.")
    leaked = (report or {}).get("decontamination")
    if leaked:
        lines.append(f"{leaked['test_in_train']} of {leaked['checked']} test contents are also in train.")
    lines.append("It reports the probability of every token; none of its texts is checked by anything else.")
    return _bullets(lines)


def _loading(facts: Mapping[str, Any]) -> str:
    version = facts.get("version", 1)
    return (
        "```python\nimport mlflow, pandas as pd\n\n"
        f'model = mlflow.pyfunc.load_model("models:/{facts["name"]}/{version}")\n'
        'model.predict(pd.DataFrame({"task": ["caption"], "path": ["picture.png"]}))\n```\n\n'
        "Code, safetensors and JSON: it loads with `MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`. Loading compares the "
        "files with their SHA-256 and answers the stored probe; where either differs it refuses and says what differs."
    )


def _origin(facts: Mapping[str, Any]) -> str:
    lines = [f"{name}: `{value}`" for name, value in facts.get("code", {}).items() if value]
    lines += [f"{name}: `{value}`" for name, value in facts.get("origin", {}).items() if value]
    return _bullets(lines)


def _configuration(config: Mapping[str, Any]) -> str:
    return f"```json\n{json.dumps(config, indent=1, sort_keys=True, default=str)}\n```" if config else ""


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    if not rows:
        return ""
    head = f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}"
    body = [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows]
    return "\n".join([head, *body])


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4g} to {interval[1]:.4g}"
