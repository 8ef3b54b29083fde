import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.conftest import ROOT
from tests.flows.conftest import SMOKE

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)


def multimodal(*arguments):
    """The command line in a process of its own, without any server."""
    process = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(process, cwd=ROOT, check=False, capture_output=True, text=True, timeout=300)


def test_help_answers_in_under_a_second():
    """The best of three, interpreter start included, in seconds of processor time: the machine may be busy."""
    seconds = []
    for _ in range(3):
        before = os.times()
        assert multimodal("--help").returncode == 0
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        seconds.append(used)
    assert min(seconds) < 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_explains_itself(name):
    """Each subcommand has a help text, and asking for it imports nothing heavy."""
    before = set(sys.modules)
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"multimodal {name}" in result.output or "Usage" in result.output
    assert not {"torch", "mlflow", "prefect"} & (set(sys.modules) - before)


def test_a_wrong_path_is_one_clear_line_and_exit_code_2():
    """No stack trace, and the message says where configurations are."""
    result = multimodal("run", "conf/nope.yaml")
    assert result.returncode == 2
    assert result.stderr.strip() == "error: no configuration at conf/nope.yaml; the project's own are in conf/"


def test_a_misspelt_key_is_one_clear_line_and_names_the_nearest_key():
    """A typing error on the command line is answered before any work."""
    result = multimodal("run", SMOKE, "train.stepz=3")
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "did you mean 'steps'?" in result.stderr


def test_a_wrong_cron_expression_is_refused():
    """`schedule` reads the expression before it starts anything."""
    result = multimodal("schedule", SMOKE, "--cron", "every night")
    assert result.returncode == 2
    assert "'every night' is no cron expression" in result.stderr


def test_a_failed_stage_is_one_red_line_without_a_stack_trace(smoke, command):
    """The message of the library's error is all that a user sees; the exit code is 1."""
    result = command("encode", SMOKE, *smoke.overrides, "encode.image.weights=no/such/folder")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    assert "error: " in result.stderr
    assert "no/such/folder" in result.stderr


def test_dry_run_prints_a_table(smoke, command):
    """Stages, what would become of them, and why; with its own embedded server never started."""
    result = command("run", SMOKE, *smoke.overrides, "train.steps=21", "--dry-run")
    assert result.returncode == 0
    assert "train.steps 20 -> 21" in result.stdout
    assert "unchanged" in result.stdout


@pytest.mark.slow
def test_a_budget_chooses_the_steps(smoke, command):
    """Enough time: a text; too little: one line that says how long the fastest setting takes; both: refused."""
    arguments = ["--text", "a smal red cirle", "--workspace", smoke.workspace, "--model", "multimodal-smoke"]
    arguments = ["predict", "--task", "denoise", *arguments]
    result = command(*arguments, "--budget-ms", "100000", "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["error"] == ""
    result = command(*arguments, "--budget-ms", "0.0001")
    assert result.returncode == 1 and "the fastest takes" in result.stderr and "Traceback" not in result.stderr
    result = command(*arguments, "--budget-ms", "9", "--steps", "3")
    assert result.returncode == 1 and "name one" in result.stderr


@pytest.mark.slow  # the README's commands do it in every run of the suite
def test_the_champion_predicts_from_the_command_line(smoke, command):
    """A caption of a picture file as JSON, and one bad file that fails alone."""
    arguments = ["--model", "multimodal-smoke", "--workspace", smoke.workspace, "--json", "--steps", "2"]
    result = command("predict", "--task", "caption", "data/sample/scenes/0000.webp", "README.md", *arguments)
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert result.returncode == 1
    assert good["input"] == "data/sample/scenes/0000.webp"
    assert good["error"] == ""
    assert 0 < good["nfe"] <= 2
    assert bad["error"]


def test_an_unknown_task_is_refused_with_the_known_ones(smoke, command):
    """The message lists the five tasks."""
    result = command("predict", "--task", "sing", "--text", "a", "--workspace", smoke.workspace)
    assert result.returncode == 1
    assert "no task 'sing'; the tasks are caption, transcribe, denoise, infill, restyle" in result.stderr
