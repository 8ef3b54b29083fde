"""`multimodal bench decoder`: the whole command on the smoke pipeline's dataset and latents."""

import json

import pytest
import yaml

from tests.bench.test_run import COMPARISON

SMALL = {"train": {"eval_every": 2, "checkpoint_every": 2, "eval_samples": 2, "batch_size": 8}}


@pytest.fixture(scope="module")
def bench_file(smoke, tmp_path_factory):
    """Three contenders of four steps in the smoke run's workspace; the encoders are timed too."""
    values = COMPARISON | {"base": "conf/smoke.yaml", "workspace": str(smoke.workspace), "fixed": SMALL}
    values |= {"max_samples": 3, "timing": COMPARISON["timing"] | {"contents": 2}}
    path = tmp_path_factory.mktemp("conf") / "bench.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.slow  # tests/bench/test_run.py makes the same comparison on a smaller corpus
def test_the_command_compares_and_goes_on(smoke, bench_file, command):
    """Stages are shared, goals are shown, files are where it says; run again it does nothing anew."""
    first = command("bench", "decoder", bench_file)
    assert first.returncode == 0, first.stdout + first.stderr
    folder = smoke.workspace / "bench" / "decoder"
    found = json.loads((folder / "results.json").read_text())
    assert set(found["speed"]["encoder_ms"]) == {"image", "audio", "text"}
    assert min(found["speed"]["encoder_ms"].values()) > 0
    assert "scene_exact" in {row["metric"] for row in found["scores"]}
    assert str(folder / "bench.html") in first.stdout and (folder / "bench.html").is_file()
    assert first.stdout.count("unchanged: ") == 2
    texts = {path: path.stat().st_mtime_ns for path in folder.rglob("texts/*.json")}
    again = command("bench", "decoder", bench_file)
    assert again.returncode == 0 and {path: path.stat().st_mtime_ns for path in folder.rglob("texts/*.json")} == texts
    assert json.loads((folder / "results.json").read_text()) == found


def test_it_says_what_it_would_do(bench_file, command):
    """`--dry-run` names stages and trainings, and starts nothing."""
    result = command("bench", "decoder", bench_file, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "3 of 4 steps each" in " ".join(result.stdout.split())


def test_a_mistake_is_one_line(bench_file, command):
    """A contender that nobody knows ends the command with its name and exit code 2."""
    result = command("bench", "decoder", bench_file, "contenders=[difusion]")
    assert result.returncode == 2
    assert "did you mean 'diffusion'" in result.stderr and "Traceback" not in result.stderr
