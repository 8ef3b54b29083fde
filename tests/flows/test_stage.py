import pytest
from prefect import flow, task

from flows.encode import EncodedDataset
from flows.stage import IO_RETRIES, StagePlan
from multimodal.config import PipelineConfig
from multimodal.errors import DatasetError
from multimodal.latents import LatentsInfo
from multimodal.sample import Modality

QUICK = {**IO_RETRIES, "retry_delay_seconds": 0}


def count_attempts(error):
    """How often a task that raises `error` is tried."""
    attempts = []

    @task(**QUICK)
    def work():
        attempts.append(1)
        raise error

    @flow
    def one_task():
        work()

    with pytest.raises(type(error)):
        one_task()
    return len(attempts)


@pytest.mark.parametrize("error", [OSError("disk busy"), ConnectionError("lost"), TimeoutError("slow")])
def test_io_errors_are_retried(prefect_server, error):
    """What may pass is tried three times."""
    assert count_attempts(error) == 3


@pytest.mark.parametrize("error", [FileNotFoundError("gone"), DatasetError("damaged"), ValueError("a defect")])
def test_other_errors_are_not_retried(prefect_server, error):
    """What cannot pass is tried once."""
    assert count_attempts(error) == 1


def config_at(workspace, **options):
    """A small configuration."""
    sources = [{"name": "a", "path": "a.tsv", "task": "infill"}]
    values = {"name": "tiny", "workspace": workspace, "ingest": {"sources": sources}, "encode": {}, **options}
    return PipelineConfig.model_validate(values)


def test_a_stage_explains_what_changed(tmp_path):
    """Old and new value of the part that differs, in the words of the configuration."""
    plan = StagePlan.of(config_at(tmp_path), "train", {"train": {"steps": 1}, "code": "a"})
    assert plan.changed_because() == "no earlier result"
    plan.remember(int, 3)
    assert plan.result(int) == 3
    changed = StagePlan.of(config_at(tmp_path), "train", {"train": {"steps": 2}, "code": "a"})
    assert changed.result(int) is None
    assert changed.changed_because() == "changed: train.steps 1 -> 2"


def test_a_forgotten_result_is_gone(tmp_path):
    """A stage whose result was lost elsewhere runs again."""
    plan = StagePlan.of(config_at(tmp_path), "register", {"code": "a"})
    plan.remember(int, 3)
    plan.forget()
    assert plan.result(int) is None


def test_pipelines_of_different_names_do_not_explain_each_other(tmp_path):
    """Results are remembered by pipeline: another pipeline's options are no change of this one's."""
    StagePlan.of(config_at(tmp_path), "train", {"steps": 1}).remember(int, 1)
    other = StagePlan.of(config_at(tmp_path, name="other"), "train", {"steps": 2})
    assert other.changed_because() == "no earlier result"


def test_latents_that_are_gone_are_made_again(tmp_path):
    """Folders within the parts of a record count like those of the record itself."""
    store = tmp_path / "latents"
    store.mkdir()
    record = EncodedDataset((LatentsInfo(Modality.TEXT, store, "abcd", 8, 1, (), 1),))
    plan = StagePlan.of(config_at(tmp_path), "encode", {"code": "a"})
    plan.remember(EncodedDataset, record)
    assert plan.result(EncodedDataset) == record
    store.rmdir()
    assert plan.result(EncodedDataset) is None
