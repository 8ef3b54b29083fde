"""The model as MLflow sees it: tables in, tables out, and a real scoring server."""

import base64
import json
import threading
import time
import urllib.error
import urllib.request

import mlflow
import numpy as np
import pandas as pd
import pytest
import uvicorn
from mlflow.pyfunc import scoring_server

from multimodal.errors import RequestError
from multimodal.package import load_predictor
from multimodal.registry import register_model
from multimodal.serving import IN_SERVER, input_example, predict_table, requirements, signature
from multimodal.tracking import open_run, tracking_client, tracking_uri
from tests.small_model import copy_workspace, picture, sound

pytest_plugins = ("tests.mlflow_fixtures",)

COLUMNS = ["text", "confidence", "abstain", "tokens", "token_confidences", "filled", "nfe", "error"]


@pytest.fixture(scope="module")
def predictor(small_package):
    return load_predictor(small_package.path, "cpu")


@pytest.fixture(scope="module")
def registered(made_once, small_package, tmp_path_factory):
    """A workspace with the small package registered once, for reading."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = copy_workspace(made_once, tmp_path_factory.mktemp("registered") / "workspace", patch)
        with open_run(workspace, "sample") as run, run.stage("register") as stage:
            info = register_model(workspace, "sample", small_package, stage.run_id, 0.5)
        yield workspace, info


@pytest.fixture(scope="module")
def model(registered):
    """The registered model as a user loads it."""
    workspace, info = registered
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri(workspace))
        return mlflow.pyfunc.load_model(f"models:/sample/{info.version}")


def test_a_table_of_all_forms_is_answered_row_by_row(predictor, tmp_path):
    """Path, bytes, base64 and text, in one table under the caller's own index, keep order and index."""
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    table = pd.DataFrame(
        {
            "task": ["caption", "caption", "caption", "denoise", "transcribe", "restyle", None],
            "path": [str(path), None, None, None, None, None, None],
            "bytes": [None, picture("red"), None, None, sound(0.3), None, None],
            "base64": [None, None, base64.b64encode(picture("red")).decode(), None, None, None, None],
            "text": [None, None, np.nan, "a smal circle", "", "hello there", "x"],
            "style": [None, None, None, None, None, "formal", None],
        },
        index=[10, 20, 30, 40, 50, 60, 70],
    )
    answers = predict_table(predictor, table)
    assert list(answers.columns) == COLUMNS and list(answers.index) == list(table.index)
    assert list(answers["error"] == "") == [True] * 6 + [False]
    assert len(set(answers["text"][:3])) == 1, "the same picture in three forms"
    for tokens, confidences in zip(answers["tokens"], answers["token_confidences"], strict=True):
        assert len(json.loads(tokens)) == len(json.loads(confidences))


def test_cells_of_the_wrong_kind_are_that_rows_error(predictor):
    """Numbers, broken base64 and two contents in one row fail only their own rows."""
    table = pd.DataFrame(
        {
            "task": ["denoise", "caption", "caption", "denoise"],
            "text": [7, None, None, "a smal circle"],
            "base64": [None, "!!", "aGVsbG8=", None],
            "bytes": [None, None, b"hello", None],
        }
    )
    errors = list(predict_table(predictor, table)["error"])
    assert "'text' holds int 7" in errors[0] and "no base64" in errors[1] and "both" in errors[2] and errors[3] == ""


def test_parameters_overrule_the_sampler_and_are_checked(predictor):
    """A parameter changes the number of denoiser calls; one out of range is refused with its name."""
    table = pd.DataFrame({"task": ["denoise"], "text": ["a smal circle"]})
    assert predict_table(predictor, table, {"num_steps": 1})["nfe"].tolist() == [1]
    assert predict_table(predictor, table, {"num_steps": 4, "threshold": 1.0})["nfe"].tolist() == [4]
    with pytest.raises(RequestError, match="num_steps"):
        predict_table(predictor, table, {"num_steps": 0})
    with pytest.raises(RequestError, match="column 'task'"):
        predict_table(predictor, table[["text"]])


def test_the_logged_model_has_signature_example_and_pinned_requirements(registered, model, small_package):
    """Signature with parameters, an input example that the model answers, pinned versions, and no pickle."""
    workspace, _ = registered
    columns = {column.name: column.required for column in model.metadata.get_input_schema()}
    assert columns == {
        "task": True,
        **dict.fromkeys(("path", "bytes", "base64", "text", "style", "constraints", "hint"), False),
        **dict.fromkeys(("picture", "picture_base64"), False),
    }
    params = {param.name: param.default for param in model.metadata.get_params_schema()}
    assert params == small_package.sampler.model_dump(exclude={"guidance", "tasks"}) | {"preset": ""}
    assert list(model.metadata.get_output_schema().input_names()) == COLUMNS
    example = model.input_example
    assert model.predict(example)["error"].tolist() == [""]
    (mlmodel,) = (workspace / "mlartifacts").rglob("MLmodel")
    files = [path for path in mlmodel.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin", ".pyc")]
    assert "torch==" in (mlmodel.parent / "requirements.txt").read_text()


def test_mlflow_lets_incomplete_tables_through(model, tmp_path):
    """Columns that are absent, empty, of numbers that are none, or unknown do not stop the rows that are fine."""
    (tmp_path / "rows.csv").write_text(
        "task,text,path,style,more\ndenoise,a smal circle,,,1\ninfill,a ___ circle,,,2\n"
    )
    answers = model.predict(pd.read_csv(tmp_path / "rows.csv"))
    assert answers["error"].tolist() == ["", ""]
    assert model.predict(pd.DataFrame({"task": ["caption"], "bytes": [picture("red")]}))["error"].tolist() == [""]
    mixed = pd.DataFrame({"task": ["caption", "denoise"], "bytes": [picture("red"), None], "text": [None, "helo"]})
    assert model.predict(mixed, params={"num_steps": 1})["nfe"].tolist() == [1, 1]


def test_requirements_are_installed_versions_without_local_labels():
    """Each requirement is one that a package index can have."""
    assert all("==" in line and "+" not in line for line in requirements())


def test_example_and_signature_of_a_package_without_probe(small_package):
    """A package without probe rows still gets an example and a signature."""
    bare = type(small_package)(small_package.path, "f", small_package.tasks, small_package.sampler, ())
    assert list(input_example(bare).columns) == ["task", "text"]
    assert signature(bare.sampler).inputs.required_input_names() == ["task"]


@pytest.fixture
def server(model, monkeypatch):
    """MLflow's scoring server on loopback, as `mlflow models serve` starts it, but in a thread of this process."""
    monkeypatch.setenv(IN_SERVER, "false")  # the server sets it to true; undone after the test
    server = uvicorn.Server(uvicorn.Config(scoring_server.init(model), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_a_scoring_server_answers_and_reads_no_files(server, tmp_path, monkeypatch):
    """Over REST, pictures as base64 are answered, paths are refused row by row, and bad parameters as a whole."""
    path = tmp_path / "red.png"
    path.write_bytes(picture("red"))
    encoded = base64.b64encode(picture("red")).decode()
    cells = [
        ["caption", encoded, None, None, None],
        ["caption", None, encoded, None, None],
        ["caption", None, None, str(path), None],
        ["denoise", None, None, None, "a smal circle"],
    ]
    table = {"columns": ["task", "base64", "bytes", "path", "text"], "data": cells}
    answers = _post(server, {"dataframe_split": table, "params": {"num_steps": 2}})["predictions"]
    assert [answer["error"] == "" for answer in answers] == [True, True, False, True]
    assert answers[0] == answers[1] and "send 'base64'" in answers[2]["error"]
    records = _post(server, {"dataframe_records": [{"task": "denoise", "text": "a smal circle"}, {"task": "draw"}]})
    assert [answer["error"] == "" for answer in records["predictions"]] == [True, False]
    with pytest.raises(urllib.error.HTTPError) as refused:
        _post(server, {"dataframe_split": table, "params": {"num_steps": 0}})
    assert refused.value.code == 400
    monkeypatch.setenv("MULTIMODAL_SERVE_PATHS", "true")
    allowed = _post(server, {"dataframe_split": table, "params": {"num_steps": 2}})["predictions"]
    assert allowed[2] == answers[0]


def test_a_second_model_of_the_same_run_keeps_its_lineage(registered):
    """The version points to the run that registered it, and the run to the logged model."""
    workspace, info = registered
    run = tracking_client(workspace).get_run(info.run_id)
    assert run.data.tags["stage"] == "register"
    assert len(run.outputs.model_outputs) == 1


def _post(url, body):
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return json.loads(urllib.request.urlopen(request, timeout=60).read())
