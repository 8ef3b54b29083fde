"""The champion predicts in worker processes as it does in threads."""

import pytest
import torch

from flows.predict import predict, rows_of, runner_of
from multimodal.errors import RegistryError, RequestError
from multimodal.predictor import Row
from multimodal.registry import register_model
from multimodal.runners import RunnerOptions
from multimodal.tracking import open_run
from tests.small_model import picture

pytest_plugins = ("tests.mlflow_fixtures",)


def test_a_runner_is_named_on_the_command_line():
    """A wrong one is refused with the known ones."""
    assert runner_of("processes", 3) == RunnerOptions(kind="processes", workers=3)
    assert runner_of("ray", None).kind == "ray"
    with pytest.raises(RequestError, match=r"kind: .*'threads', 'processes' or 'ray'"):
        runner_of("dask", None)
    with pytest.raises(RequestError, match=r"workers: .*greater than or equal to 1"):
        runner_of("ray", 0)


def test_no_champion_no_workers(workspace):
    """Said before any worker is started."""
    with pytest.raises(RegistryError):
        predict(workspace, "sample", [Row("denoise", text="a smal circle")], runner=RunnerOptions(kind="processes"))


@pytest.mark.slow
def test_processes_write_what_threads_write(workspace, small_package, monkeypatch, tmp_path):
    """Texts, confidences and errors of more rows than fit at once; paths are those of this working directory."""
    with open_run(workspace, "sample") as run, run.stage("register") as stage:
        register_model(workspace, "sample", small_package, stage.run_id, 0.5)
    for module in ("bulk_prediction", "predictor"):
        monkeypatch.setattr(f"multimodal.{module}.ROWS_AT_ONCE", 4)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "red.png").write_bytes(picture("red"))
    rows = rows_of("caption", ["red.png", "gone.png"], [])
    rows += [Row("denoise", text=f"a smal red ciircle {number}") for number in range(6)]
    torch.set_num_threads(1)
    expected = predict(workspace, "sample", rows)
    assert predict(workspace, "sample", rows, runner=RunnerOptions(kind="processes", workers=1)) == expected
    assert expected[0].error == "" and "gone.png" in expected[1].error
