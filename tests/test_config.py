from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from multimodal.bench.options import read_bench
from multimodal.config import PipelineConfig, load_config, load_options
from multimodal.encoders.options import SampleEncodersOptions
from multimodal.errors import ConfigError
from multimodal.sample import Task
from multimodal.sweep.options import read_sweep

ROOT = Path(__file__).parents[1]
SMALL = """
name: small
ingest:
  sources:
    - {name: text, path: text.csv, task: infill}
encode: {}
train: {steps: 10}
"""


@pytest.fixture
def conf(tmp_path):
    """A small configuration on disk."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_configuration_is_read_with_defaults(conf):
    """What the file does not say has its default; what it says has its type."""
    config = load_config(conf)
    assert config.train.steps == 10
    assert config.workspace == Path("workspace")
    assert config.ingest.sources[0].task is Task.INFILL


def test_overrides_win_over_the_file(conf):
    """Precedence: code, file, command line; values are YAML, parents appear as needed."""
    config = load_config(
        conf, ["train.steps=20", "sampler.temperature=0.5", "workspace=elsewhere", "train.patience=null"]
    )
    assert (config.train.steps, config.sampler.temperature) == (20, 0.5)
    assert config.workspace == Path("elsewhere")
    assert config.train.patience is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=20", "train: unknown key 'stepz'; did you mean 'steps'"),
        ("train.steps=many", r"train.steps: .*integer.*'many'"),
        ("train.steps=0", r"train.steps: .*greater than or equal to 1 \(got 0\)"),
        ("train.steps", "not of the form key.sub=value"),
        ("=3", "not of the form key.sub=value"),
        ("name.sub=3", "'name' holds no keys of its own"),
        ("train.steps=[", "the value is not YAML"),
        ("name=Not A Name", "name: "),
        ("sampler={candidates: 2, temperature: 1, rerank: clip}", "name it when you predict"),
        ("sampler.kind=revision", "'revision' does not go with the process 'absorbing'; auto, confidence"),
    ],
)
def test_a_wrong_override_is_refused(conf, override, message):
    """The message names the key, the value, and where it can the cure."""
    with pytest.raises(ConfigError, match=message):
        load_config(conf, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1, 2]", "holds list"), ("a: [", "not YAML"), ("", "holds NoneType"), ("name: x", "ingest: .*required")],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, content, message):
    """Lists, broken YAML, nothing at all, and missing stages."""
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "c.yaml")


def test_an_absent_file_is_refused(tmp_path):
    """The message says where the project's own configurations are."""
    with pytest.raises(ConfigError, match="conf/"):
        load_config(tmp_path / "no.yaml")


def test_every_configuration_of_the_project_loads():
    """Each YAML file in conf/ is a pipeline, a sweep, a comparison or the recipe of the sample encoders, and opens with
    a comment."""
    for path in sorted((ROOT / "conf").glob("*.yaml")):
        assert path.read_text().startswith("#"), f"{path.name} must open with purpose, hardware, minutes and command"
        keys = yaml.safe_load(path.read_text()).keys()
        if "space" in keys:
            assert read_sweep(path).base_config()
        elif "catalogue" in keys:
            assert read_bench(path).competing
        else:
            load_options(PipelineConfig if "ingest" in keys else SampleEncodersOptions, path)
