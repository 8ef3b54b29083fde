"""What README.md says is true: its commands run, its snippet works, its tree is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = [
    shlex.split(line.removeprefix("$ "), comments=True)
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
MULTIMODAL = [words[1:] for words in COMMANDS if words[0] == "multimodal"]
SERVES = {"schedule", "ui", "rollback"}
"""Commands that run until they are stopped, or that one run of the smoke configuration leaves nothing to do for."""


def test_make_targets_exist():
    """Each `make` command of the README is a target of the Makefile."""
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    wanted = [words[1] for words in COMMANDS if words[0] == "make"]
    assert {"run", "test"} <= set(wanted) <= set(targets)


@pytest.mark.parametrize("words", [words for words in MULTIMODAL if words[0] not in SERVES], ids=shlex.join)
def test_commands_run(words, smoke, command):
    """Each `multimodal` command succeeds, on the smoke configuration and its workspace."""
    words = ["conf/smoke.yaml" if word == "conf/sample.yaml" else word for word in words]
    if words[0] == "sweep":
        words += ["base=conf/smoke.yaml", "trials=1", "fixed={train: {steps: 4, eval_every: 2}}"]
    if words[0] == "pretrain":
        words += [f"encode.image.pretrain.{name}" for name in ("steps=2", "batch_size=8", "scored=16")]
    words = ["train.steps=21" if word.startswith("train.steps=") else word for word in words]
    if words[0] in ("predict", "doctor"):
        words += ["--workspace", str(smoke.workspace)]
        words += ["--model", "multimodal-smoke"] if words[0] == "predict" else []
    elif words[0] in ("ledger", "explain", "latents"):
        words += ["--workspace", str(smoke.workspace)]
    elif words[0] == "verify":
        words[1] = str(smoke.workspace)
    elif words[0] == "models":
        words += ["--workspace", str(smoke.workspace)]
        words += [] if words[1] in ("ls", "gc") else ["--model", "multimodal-smoke"]
    else:
        words.insert(2, f"workspace={smoke.workspace}")
    result = command(*words)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("words", [words for words in MULTIMODAL if words[0] in SERVES], ids=shlex.join)
def test_options_of_serving_commands_exist(words, command):
    """Commands that serve for ever know the options that the README gives them."""
    shown = command(words[0], "--help").stdout
    assert all(word in shown for word in words if word.startswith("--"))


def test_the_snippet_works_in_a_fresh_process(smoke):
    """The Python snippet, on the smoke model, gives a text for every row and no error."""
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    snippet = snippet.replace("sqlite:///workspace/", f"sqlite:///{smoke.workspace}/").replace("-sample@", "-smoke@")
    *lines, last = snippet.rstrip().split("\nmodel.predict")
    code = f"{lines[0]}\nprint((model.predict{last}).error.tolist())"
    env = {**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.stdout.strip().splitlines()[-1:] == ["['', '', '']"], result.stderr


def test_the_tree_is_there():
    """Every file and folder that the tree names exists."""
    tree = README.split("## The tree")[1].split("```")[1]
    folder = ROOT
    for line in tree.splitlines()[1:]:
        names = line[2:].split("   ")[0] if line.startswith("  ") else line.split("   ")[0].strip()
        if not line.startswith(" ") and names.endswith("/"):
            folder = ROOT / names
            assert folder.is_dir(), names
        else:
            for name in re.findall(r"[\w./-]+", names):
                assert (folder / name).exists(), name


def test_pictures_are_there():
    """Every picture that the README shows is in the repository."""
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README)
    assert shown
    assert all((ROOT / name).is_file() for name in shown)


def test_every_configuration_loads_and_introduces_itself():
    """Each file of conf/ is valid, and its first lines say hardware, minutes and the command."""
    from multimodal.bench.options import read_bench
    from multimodal.config import load_config, load_options
    from multimodal.encoders.options import SampleEncodersOptions
    from multimodal.sweep.options import read_sweep

    kinds = {
        "ingest": ("run", load_config),
        "space": ("sweep", read_sweep),
        "output": ("pretrain", lambda path: load_options(SampleEncodersOptions, path)),
        "catalogue": ("bench decoder", read_bench),
    }
    for path in sorted((ROOT / "conf").glob("*.yaml")):
        values = yaml.safe_load(path.read_text())
        (command, load), *others = (kind for key, kind in kinds.items() if key in values)
        assert load(path) and not others
        assert f"multimodal {command} {path.relative_to(ROOT)}" in path.read_text().split("\n\n")[0]


def test_every_option_is_documented():
    """Each option and argument of each subcommand has a help text."""
    import typer

    from flows.cli import app

    commands = dict(typer.main.get_command(app).commands)
    for group in ("models", "bench", "ledger", "latents"):
        commands |= {f"{group} {name}": found for name, found in commands.pop(group).commands.items()}
    assert {"run", "predict", "doctor", "schedule", "pretrain"} <= set(commands)
    for name, found in commands.items():
        undocumented = [parameter.name for parameter in found.params if not getattr(parameter, "help", None)]
        assert not undocumented and found.help, (name, undocumented)


def test_the_workspace_is_as_described(smoke):
    """The folders that the README lists are what a run leaves behind."""
    listed = README.split("## What a run leaves behind")[1].split("```")[1]
    for name in re.findall(r"^  ([\w.]+)(?:/<\w+>)?/? ", listed, re.MULTILINE):
        assert (Path(smoke.workspace) / name).exists(), name
