import pytest

from flows.doctor import (
    Verdict,
    check_disk,
    check_encoders,
    check_fastapi,
    check_mlflow,
    check_python,
    check_torch,
)


def test_this_installation_is_good():
    """The pinned versions pass their own checks."""
    findings = [check_python(), check_torch(), check_fastapi()]
    assert [finding.verdict for finding in findings] == [Verdict.GOOD] * 3, findings


@pytest.mark.parametrize("version", ["0.151.0", "0.165.0"])
def test_a_fastapi_that_breaks_prefect_is_bad_and_has_a_cure(version):
    """The trap that `pip check` does not see."""
    finding = check_fastapi(version)
    assert finding.verdict is Verdict.BAD
    assert "fastapi<0.151" in finding.cure


@pytest.mark.parametrize(
    ("version", "verdict"), [((3, 10), "bad"), ((3, 11), "good"), ((3, 13), "good"), ((3, 14), "bad")]
)
def test_python_versions(version, verdict):
    """3.11 to 3.13."""
    assert check_python(version).verdict == verdict


def test_torch_packages_must_belong_together():
    """torchaudio of another release than torch is named."""
    assert check_torch("2.11.0+cu130", "0.26.0", "2.11.0").verdict is Verdict.GOOD
    assert check_torch("2.11.0", "0.26.0", "2.10.0").verdict is Verdict.BAD


def test_missing_encoders_are_noted_with_the_command_that_makes_them(tmp_path):
    """Someone with encoders of their own can go on: a note, not bad."""
    finding = check_encoders(tmp_path)
    assert finding.verdict is Verdict.NOTE
    assert "multimodal pretrain conf/sample-encoders.yaml" in finding.cure


def test_a_full_disk_is_bad(tmp_path):
    """More is asked for than any disk has."""
    assert check_disk(tmp_path / "not" / "there" / "yet", needed_gb=1e9).verdict is Verdict.BAD
    assert check_disk(tmp_path, needed_gb=0).verdict is Verdict.GOOD


def test_a_workspace_that_cannot_be_written_is_bad(tmp_path, monkeypatch):
    """A file where the workspace should be: MLflow's database cannot be made."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "file").write_text("")
    finding = check_mlflow(tmp_path / "file" / "workspace")
    assert finding.verdict is Verdict.BAD
    assert "MLFLOW_TRACKING_URI" in finding.cure
