"""`multimodal distill` on the smoke pipeline: a student is trained, evaluated and registered, once."""

import pytest

from flows.pipeline import read_config
from multimodal.errors import ConfigError
from multimodal.generation import TextGenerator
from multimodal.registry import description_of, facts_of, list_versions, tags_of
from multimodal.training.distillation.rounds import step_counts
from tests.flows.conftest import SMOKE
from tests.flows.test_pipeline import mlflow_runs


@pytest.fixture(scope="module")
def distilled(smoke, command):
    """The command, run twice: what it printed."""
    return [command("distill", SMOKE, *smoke.overrides) for _ in range(2)]


@pytest.fixture(scope="module")
def student(smoke, distilled):
    """The version that the first run registered."""
    assert distilled[0].returncode == 0, distilled[0].stdout + distilled[0].stderr
    first = smoke.first.version
    (found,) = [
        info
        for info in list_versions(smoke.workspace, first.name)
        if "distilled.from" in tags_of(smoke.workspace, info)
    ]
    return found


@pytest.mark.slow
def test_the_student_is_a_version_of_its_own_that_names_its_teacher(smoke, student):
    """Of the same registered model, with tags, facts and card that say what it was made from, and its few steps."""
    teacher = smoke.first.trained
    tags = tags_of(smoke.workspace, student)
    assert student.name == smoke.first.version.name and student.version != smoke.first.version.version
    assert tags["distilled.from"] == f"{teacher.fingerprint}/{teacher.checkpoint.name}"
    assert tags["distilled.steps"] == "4 -> 2 -> 1" and tags["distilled.rounds"] == "2"
    assert len(tags["distilled.from.weights"]) == 64
    facts = facts_of(smoke.workspace, student)
    assert facts["training"]["distilled.from"] == tags["distilled.from"]
    assert facts["config"]["sampler"]["num_steps"] == facts["package"]["sampler"]["num_steps"] == 1
    assert "distilled.steps: `4 -> 2 -> 1`" in description_of(smoke.workspace, student)


@pytest.mark.slow
def test_its_checkpoint_is_a_checkpoint(smoke, student):
    """Loaded as any other; every task of the teacher is there, and it was trained for the steps that the file asks."""
    fingerprint = facts_of(smoke.workspace, student)["training"]["fingerprint"]
    (folder,) = [path.parent for path in (smoke.workspace / "checkpoints" / fingerprint).glob("step-*/config.json")]
    teacher = TextGenerator.load(smoke.first.trained.checkpoint)
    assert TextGenerator.load(folder).decoder.config == teacher.decoder.config


@pytest.mark.slow
def test_the_stages_are_in_mlflow(smoke, student):
    """One run with a child per stage; the distilling one has losses of both rounds, and names the teacher."""
    runs = [run for run in mlflow_runs(smoke.workspace) if run.data.tags.get("distilled.from")]
    ran = [run for run in runs if run.data.tags["stage.state"] == "ran"]
    assert len(ran) == 1
    assert ran[0].data.metrics["steps"] == 8 and "train/loss/caption" in ran[0].data.metrics


@pytest.mark.slow
def test_the_second_run_changes_nothing(smoke, distilled, student):
    """Every stage says that it is unchanged; no version is added."""
    again = distilled[1]
    assert again.returncode == 0, again.stdout + again.stderr
    unchanged = {line.split()[0] for line in again.stdout.splitlines() if " unchanged: " in line}
    assert unchanged == {"ingest", "encode", "train", "distill", "evaluate", "register"}
    assert f"version {student.version} " in again.stdout


@pytest.mark.slow
def test_it_says_what_it_would_do(smoke, student, project_folder):
    """Nothing, after it was done; and which option was changed, if one was."""
    from flows.distill import distill_intentions

    done = distill_intentions(read_config(SMOKE, smoke.overrides), None)
    assert [(item.stage, item.runs) for item in done[-3:]] == [
        ("distill", False), ("evaluate", False), ("register", False)
    ]  # fmt: skip
    changed = distill_intentions(read_config(SMOKE, [*smoke.overrides, "distill.steps=5"]), None)
    assert changed[-3].why.startswith("changed: distill.steps 4 -> 5") and changed[-1].why == "depends on distill"


@pytest.mark.slow
def test_a_registered_model_can_be_the_teacher(smoke, command):
    """`--from models:/...` plans from encode on; what is not there is one line."""
    uri = f"models:/{smoke.first.version.name}/{smoke.first.version.version}"
    planned = command("distill", SMOKE, *smoke.overrides, "--from", uri, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "train" not in [line.split("│")[1].strip() for line in planned.stdout.splitlines() if line.count("│") > 2]
    missing = command("distill", SMOKE, *smoke.overrides, "--from", "models:/nobody/1", "--dry-run")
    assert missing.returncode == 1 and "no model 'nobody'" in missing.stderr and "Traceback" not in missing.stderr


def test_steps_are_divided_in_each_round(project_folder):
    """The first teacher writes in as many steps as all rounds multiply to."""
    config = read_config(SMOKE, ["distill.rounds=3", "distill.num_steps=2", "distill.teacher_steps=3"])
    assert step_counts(config.distill) == [54, 18, 6, 2]


def test_a_process_without_masks_is_refused(prefect_server, tmp_path, project_folder):
    """Before any work."""
    from flows.distill import distill_pipeline

    with pytest.raises(ConfigError, match="distill is for masks"):
        distill_pipeline(SMOKE, [f"workspace={tmp_path}/new", "train.process=uniform"])
    assert not (tmp_path / "new").exists()
