"""The commands on registered models, on a registry with real versions and stored evaluations."""

import json

import pytest
from typer.testing import CliRunner

from flows.cli import app, main
from multimodal.errors import MultimodalError
from multimodal.registry import register_model
from multimodal.tracking import open_run
from tests.small_model import copy_workspace
from tests.test_registry_champions import copy_of, evaluation

pytest_plugins = ("tests.mlflow_fixtures",)


@pytest.fixture(scope="module")
def registry(made_once, small_package, tmp_path_factory):
    """A workspace with three versions: a champion, one that failed the gate, and the champion that replaced it."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        workspace = copy_workspace(made_once, folder / "workspace", patch)
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        for number, gain in enumerate((0.0, -0.2, 0.2)):
            with open_run(workspace, "sample") as run, run.stage("register") as stage:
                values = [0.4 + gain + 0.01 * (index % 3) for index in range(40)]
                register_model(
                    workspace, "sample", copy_of(small_package, f"f{number}"), stage.run_id, 0.5,
                    evaluation=evaluation(folder / str(number), values, worst=0.4 + gain),
                    facts={"config": {"seed": number, "steps": 9}}, description=f"# card {number}",
                )  # fmt: skip
        yield workspace


@pytest.fixture
def multimodal(registry):
    """Runs a command on the registry and gives what it printed; with `--json`, the values."""

    def run(*words):
        names = ["--workspace", str(registry)]
        names += ["--model", "sample"] if words[1] in ("show", "compare", "diff", "promote", "spread") else []
        result = CliRunner().invoke(app, [*words, *names], catch_exceptions=False)
        assert result.exit_code == 0
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return run


def test_ls_and_show(multimodal):
    """Versions with aliases and verdicts; one version with its gate and its card."""
    listed = multimodal("models", "ls", "--json")
    assert [(row["version"], row["aliases"]) for row in listed] == [(3, ["challenger", "champion"]), (2, []), (1, [])]
    table = multimodal("models", "ls")
    assert "failed gain" in table and "champion" in table
    shown = multimodal("models", "show", "champion", "--json")
    assert shown["version"] == 3 and shown["description"] == "# card 2" and shown["history"] == [1, 3]
    assert shown["tags"]["gate.gain"] == "passed" and shown["report"]["split"] == "test"
    page = multimodal("models", "show", "2")
    assert "worst_slice" in page and "card 1" in page and "1 -> 3" in page


def test_compare_and_diff(multimodal):
    """The gain with its interval and what it is based on; the options that differ, and only those."""
    compared = multimodal("models", "compare", "1", "champion", "--json")
    assert compared["gain"]["value"] == pytest.approx(0.2) and compared["gain"]["basis"].startswith("pairs of 40")
    assert compared["permutation_p"] == {"denoise": pytest.approx(1 / 1001, abs=1e-3)}  # all 40 pairs gain
    assert multimodal("models", "compare", "champion", "1", "--json")["permutation_p"]["denoise"] > 0.99
    assert compared["scores"][0]["version 3"] == pytest.approx(0.6, abs=0.02)
    assert "gain, denoise" in multimodal("models", "compare", "1", "3")
    assert multimodal("models", "diff", "1", "2", "--json") == [{"what": "config.seed", "before": "0", "after": "1"}]
    assert "made from the same configuration" in multimodal("models", "diff", "2", "2")


def test_spread_over_seeds(multimodal):
    """Mean and sample standard deviation of each score of the three versions, which differ in their seed alone."""
    found = multimodal("models", "spread", "1", "2", "3", "--json")
    (row,) = found["scores"]
    assert row["mean"] == pytest.approx(0.4 + 0.00975) and row["standard deviation"] == pytest.approx(0.2)
    assert found["versions"] == [1, 2, 3] and found["differ in"] == []
    assert "spread over 2 versions" in multimodal("models", "spread", "1", "champion")


def test_a_spread_needs_two_versions(registry):
    """One version has none, and that is said."""
    with pytest.raises(MultimodalError, match="at least two seeds, got 1"):
        CliRunner().invoke(
            app, ["models", "spread", "1", "--model", "sample", "--workspace", str(registry)], catch_exceptions=False
        )


def test_gc_lists_first_then_rollback_and_promote_move_the_champion(multimodal):
    """Nothing is removed without --yes; rollback restores the first champion, promote the third."""
    assert multimodal("models", "gc", "--json")["versions"][0]["version"] == 2
    assert "Remove with --yes" in multimodal("models", "gc")
    assert len(multimodal("models", "ls", "--json")) == 3
    assert multimodal("rollback", "sample", "--json")["version"] == 1
    assert multimodal("models", "promote", "3", "--json")["history"] == [1, 3]
    assert "version 1 is champion" in multimodal("models", "rollback", "sample")
    removed = multimodal("models", "gc", "--yes", "--json")
    assert removed["removed"] and [row["version"] for row in removed["versions"]] == [2]
    assert [row["version"] for row in multimodal("models", "ls", "--json")] == [3, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["models", "show", "9", "--model", "sample"], "'sample' has no version '9'"),
        (["models", "show", "--model", "other"], "no model 'other' is registered; registered are sample"),
        (["rollback", "other"], "no model 'other' is registered"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(registry, monkeypatch, capsys, words, message):
    """No stack trace, and the names that there are."""
    monkeypatch.setattr("sys.argv", ["multimodal", *words, "--workspace", str(registry)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1 and message in " ".join(capsys.readouterr().err.split())


def test_no_workspace(monkeypatch, capsys, tmp_path):
    """A folder that is not there is not made."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("sys.argv", ["multimodal", "models", "ls", "--workspace", str(tmp_path / "none")])
    with pytest.raises(SystemExit):
        main()
    assert "no workspace at" in " ".join(capsys.readouterr().err.split()) and not (tmp_path / "none").exists()
