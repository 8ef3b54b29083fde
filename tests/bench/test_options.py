"""What a comparison's file may say."""

import pytest
import yaml

from multimodal.bench.options import DEFAULT, NO_STEP_LIMIT, read_bench
from multimodal.errors import ConfigError
from tests.bench.test_run import BASE, COMPARISON


@pytest.fixture
def path(tmp_path):
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(BASE))
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(COMPARISON | {"base": str(tmp_path / "base.yaml")}))
    return tmp_path / "bench.yaml"


def test_a_contender_differs_in_its_overrides_alone(path):
    """Twin and subject have one configuration but for the process; the seed is the training's."""
    options = read_bench(path, ["fixed.train.batch_size=5"])
    subject, twin = (options.config_of(name, 3) for name in ("diffusion", "autoregressive"))
    assert (subject.train.process, twin.train.process) == ("absorbing", "autoregressive")
    assert twin.train.model_copy(update={"process": "absorbing"}) == subject.train
    assert (twin.seed, twin.train.batch_size, twin.train.steps) == (3, 5, 4)
    assert (twin.decoder, twin.tokenizer, twin.sampler) == (subject.decoder, subject.tokenizer, subject.sampler)


def test_the_budget_is_steps_or_minutes(path):
    """Minutes end a training whatever its steps; both at once, or neither, are refused."""
    config = read_bench(path, ["budget={minutes: 2.5}"]).config_of("diffusion", 0)
    assert (config.train.steps, config.train.max_minutes) == (NO_STEP_LIMIT, 2.5)
    for budget in ("{}", "{steps: 3, minutes: 1}"):
        with pytest.raises(ConfigError, match="either steps or minutes"):
            read_bench(path, [f"budget={budget}"])


def test_points_are_the_default_and_those_of_the_curves(path):
    """Each point has its sampler's options over the contender's own."""
    points = read_bench(path).points_of("diffusion")
    assert next(iter(points)) == DEFAULT and points[DEFAULT].num_steps == 4
    assert (points["scheduled num_steps=2"].kind, points["scheduled num_steps=2"].num_steps) == ("scheduled", 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("contenders=[difusion]", "did you mean 'diffusion'"),
        ("twin=nobody", "no contender 'nobody'"),
        ("seeds=[1, 1]", "named twice"),
        ("catalogue.diffusion.overrides={train: {proces: absorbing}}", "did you mean 'process'"),
        ("catalogue.diffusion.curves={a: {vary: num_step, values: [1]}}", "did you mean 'num_steps'"),
        ("catalogue.diffusion.curves={a: {values: [1]}}", "give both or neither"),
    ],
)
def test_mistakes_are_named_before_any_work(path, override, message):
    """Unknown names come with the nearest known one."""
    with pytest.raises(ConfigError, match=message):
        read_bench(path, [override])


def test_a_contender_that_does_not_compete_may_be_unknown_here(path):
    """A catalogue may hold what this version cannot train, as long as it is not asked for."""
    override = "catalogue.later={overrides: {train: {process: not-built}}}"
    assert "later" in read_bench(path, [override, "contenders=[diffusion, autoregressive]"]).catalogue
    with pytest.raises(ConfigError, match=r"catalogue\.later"):
        read_bench(path, [override])
