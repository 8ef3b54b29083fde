"""Sweeps: what their files may say, how trials are drawn, pruned and gone on with, what is written of them."""

import json
import math
import shutil
from contextlib import contextmanager
from xml.etree import ElementTree

import numpy as np
import optuna
import pytest
import yaml

from multimodal.config import load_config
from multimodal.dataset import Dataset
from multimodal.errors import ConfigError, MultimodalError
from multimodal.ingest import ingest
from multimodal.ingest.options import IngestOptions
from multimodal.latents import LatentsInfo, LatentWriter
from multimodal.sample import Modality
from multimodal.sweep.options import SweepOptions, override, read_sweep, value_of
from multimodal.sweep.results import finished, write_results
from multimodal.sweep.study import open_sweep
from multimodal.sweep.trial import run_trial
from multimodal.training.job import TrainJob
from tests.conftest import ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RATE, DROPOUT, LAYERS = "train.learning_rate", "train.condition_dropout", "decoder.num_layers"
SPACE = {
    RATE: {"low": 1e-5, "high": 1e-1, "log": True},
    DROPOUT: {"low": 0.0, "high": 0.4},
    LAYERS: {"low": 1, "high": 4},
    "train.optimizer": {"choices": ["muon", "adamw"]},
}
PARTS = {"space": "as of the test"}


@pytest.fixture(autouse=True)
def _in_the_project(project_folder):
    """The base configuration is named relative to the project's folder."""


def options_of(**changes):
    values = {"name": "test", "base": "conf/smoke.yaml", "trials": 8, "startup_trials": 3, "space": SPACE}
    return SweepOptions.model_validate(values | changes)


def goodness(params):
    """A made-up score in [0, 1] that hangs on the learning rate, is best at 1e-3, and hardly sees the rest."""
    return math.exp(-((math.log10(params[RATE]) + 3) ** 2)) - 0.001 * params.get(DROPOUT, 0.0)


def play(sweep, most=10**6):
    """Run up to so many of the remaining trials with the made-up score."""
    while sweep.remaining and most:
        most -= 1
        trial = sweep.ask()
        trial.complete(goodness(trial.params), 0.5)


@contextmanager
def played(folder, **changes):
    with open_sweep(folder, options_of(**changes)) as sweep:
        play(sweep)
        yield sweep


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"ingest.seed": {"low": 0, "high": 1}}}, "all trials share the stages before train"),
        ({"space": {"train.learning_rat": {"low": 0.1, "high": 1.0}}}, "did you mean 'learning_rate'"),
        ({"space": {RATE: {"low": 0.0, "high": 1.0}}}, r"space\.train\.learning_rate, at 0\.0: .*greater than 0"),
        ({"space": {RATE: {"low": 0.1}}}, "needs low and high, or choices"),
        ({"space": {RATE: {"low": 0.2, "high": 0.1}}}, "low 0.2 must be below high 0.1"),
        ({"space": {RATE: {"low": 0.0, "high": 0.1, "log": True}}}, "log needs a low above 0"),
        ({"space": {RATE: {"low": 0.1, "high": 0.2, "choices": [1]}}}, "choices stand alone"),
        ({"space": {LAYERS: {"choices": [1, 1]}}}, "a choice is named twice"),
        ({"space": {"train.optimizer": {"choices": ["muon", "sgd"]}}}, "at sgd: .*'muon' or 'adamw'"),
        ({"space": {}}, "at least 1 item"),
        ({"base": "conf/nope.yaml"}, "no configuration at conf/nope.yaml"),
        ({"fixed": {"train": {"stepz": 3}}}, "did you mean 'steps'"),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_sweep_is_refused_before_any_work(tmp_path, changes, message):
    """Keys that are shared or unknown, values that the configuration refuses and contradictions are named."""
    values = {"base": "conf/smoke.yaml", "space": {RATE: {"low": 0.1, "high": 0.2}}} | changes
    (tmp_path / "sweep.yaml").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message):
        read_sweep(tmp_path / "sweep.yaml")


def test_the_command_line_overrules_the_file_and_the_file_the_base(tmp_path):
    """`fixed` and `workspace` reach the base; the base's own values of the space are known."""
    options = read_sweep("conf/sweep.yaml", ["base=conf/smoke.yaml", "fixed.train.steps=7", f"workspace={tmp_path}"])
    config = options.base_config()
    assert (config.name, config.train.steps, config.workspace) == ("multimodal-smoke", 7, tmp_path)
    assert config.train.max_minutes == 3, "of the sweep file"
    assert options.base_values() == {
        RATE: 0.002, DROPOUT: 0.1, "train.full_mask": 0.3, "train.optimizer": "muon", "train.tasks.caption": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"),
    [(RATE, 1e-05), (RATE, 0.1 + 0.2), ("seed", 7), ("train.patience", None), ("train.mixed_precision", "no")],
)
def test_a_value_survives_the_way_through_an_override(key, value):
    """Small floats, nothing, and words that YAML might take for something else come out as they went in."""
    config = load_config("conf/smoke.yaml", [override(key, value)])
    assert value_of(config, key) == value


def test_the_base_is_tried_first_and_values_stay_in_the_space(tmp_path):
    """Trial 0 has the base's own values; all others lie in their ranges, whole numbers where the key takes them."""
    with played(tmp_path) as sweep:
        first, *others = sweep.records
    assert sweep.base == first and first.params == options_of().base_values()
    for record in others:
        assert 1e-5 <= record.params[RATE] <= 1e-1 and 0 <= record.params[DROPOUT] <= 0.4
        assert record.params[LAYERS] in {1, 2, 3, 4} and isinstance(record.params[LAYERS], int)
        assert isinstance(record.params[DROPOUT], float)
    assert len({record.params[RATE] for record in others}) == 7


def test_a_base_outside_the_space_is_not_tried(tmp_path):
    """Where the space does not hold the base's values, every trial is drawn."""
    with played(tmp_path, trials=3, space={RATE: {"low": 1e-5, "high": 1e-4}}) as sweep:
        assert sweep.base is None
        assert all(record.params[RATE] <= 1e-4 for record in sweep.records)


def test_an_interrupted_sweep_goes_on_as_if_it_had_not_been(tmp_path):
    """Stopped between trials and within one, a sweep tries the same values in the same order as one in one go."""
    with played(tmp_path / "whole") as sweep:
        whole = [record.params for record in sweep.records]
    with open_sweep(tmp_path / "torn", options_of()) as sweep:
        play(sweep, most=4)
    with pytest.raises(KeyboardInterrupt), open_sweep(tmp_path / "torn", options_of()) as sweep:
        assert sweep.remaining == 4
        torn = sweep.ask()
        torn.report(10, 0.2)
        raise KeyboardInterrupt
    with open_sweep(tmp_path / "torn", options_of()) as sweep:
        again = sweep.ask()
        assert (again.params, again.continues) == (torn.params, torn.number)
        again.report(10, 0.2)
        again.complete(goodness(again.params), 0.5)
        play(sweep)
        assert [record.params for record in sweep.records] == whole
        assert torn.number not in {record.number for record in sweep.records}
        assert sweep.records[4].curve == {10: 0.2}
    with open_sweep(tmp_path / "torn", options_of(trials=9)) as sweep:
        assert sweep.remaining == 1, "a sweep can be made longer"


def test_the_search_finds_what_is_good(tmp_path):
    """The best of 24 trials beats the best of the random ones at the start, and its rate is near the best one."""
    with played(tmp_path, trials=24, startup_trials=6, space={key: SPACE[key] for key in (RATE, DROPOUT)}) as sweep:
        scores = [record.score for record in sweep.records]
        assert sweep.best.score == max(scores) > max(scores[1:6])
        assert 10**-3.3 < sweep.best.params[RATE] < 10**-2.7
        importances = sweep.importances()
    assert list(importances) == [RATE, DROPOUT]
    assert importances[RATE] > 0.75 and sum(importances.values()) == pytest.approx(1)


def test_importance_is_not_made_up(tmp_path):
    """Trials of equal scores say nothing about importance."""
    with open_sweep(tmp_path, options_of(trials=4)) as sweep:
        while sweep.remaining:
            sweep.ask().complete(0.5, 0.1)
        assert sweep.importances() == {}


def test_a_trial_that_falls_behind_is_pruned(tmp_path):
    """Below the median of three completed trials at a step it stops, not before, and not at the training's end."""
    with open_sweep(tmp_path, options_of(warmup_steps=10)) as sweep:
        for score in (0.5, 0.6, 0.7):
            trial = sweep.ask()
            for step in (10, 20, 30):
                trial.report(step, score)
            trial.complete(score, 1.0)
        behind = sweep.ask()
        behind.report(5, 0.0)
        behind.report(30, 0.1, may_prune=False)
        with pytest.raises(optuna.TrialPruned, match=r"score 0\.300 at step 20 is below the median"):
            behind.report(20, 0.3)
        record = behind.prune("fell behind", 0.5)
        ahead = sweep.ask()
        ahead.report(20, 0.65)
        ahead.complete(0.65, 1.0)
    assert (record.end, record.score, record.reason) == ("pruned", 0.3, "fell behind")
    assert sweep.best.score == 0.7, "pruned trials are not chosen"


def test_pruning_can_be_switched_off(tmp_path):
    """With `prune: false` the worst trial is carried to its end."""
    with open_sweep(tmp_path, options_of(prune=False, startup_trials=1)) as sweep:
        trial = sweep.ask()
        trial.report(10, 0.9)
        trial.complete(0.9, 1.0)
        worst = sweep.ask()
        worst.report(10, 0.0)
        assert worst.complete(0.0, 1.0).end == "complete"


def test_failed_trials_count_and_are_not_chosen(tmp_path):
    """A score that is no number fails the trial; a sweep of failures says why it has no result."""
    with open_sweep(tmp_path, options_of(trials=2)) as sweep:
        assert sweep.ask().complete(math.nan, 1.0).end == "failed"
        sweep.ask().fail("out of memory")
        assert sweep.remaining == 0 and sweep.best is None
        assert write_results(sweep, PARTS, "first") is None
        with pytest.raises(MultimodalError, match="none of 2 trials was completed; the last one: out of memory"):
            finished(None, sweep.records)


def test_two_processes_do_not_work_on_one_sweep(tmp_path):
    """The second to open a sweep is told so at once; after the first has closed it may."""
    with (
        open_sweep(tmp_path, options_of()),
        pytest.raises(MultimodalError, match="another process works on the sweep"),
        open_sweep(tmp_path, options_of()),
    ):
        pass
    with open_sweep(tmp_path, options_of()) as sweep:
        assert sweep.remaining == 8


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of a sweep with completed, pruned and failed trials."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        options = options_of(trials=9, startup_trials=2)
        with open_sweep(folder, options) as sweep:
            play(sweep, most=6)
            sweep.ask().fail("<b>5 heads</b> do not fit")
            pruned = sweep.ask()
            pruned.report(10, 0.01)
            pruned.report(20, 0.02)
            pruned.prune("fell behind", 0.2)
            play(sweep)
            return write_results(sweep, PARTS, "no earlier result")


def test_the_best_configuration_runs_as_it_is(written):
    """best.yaml loads, has the best trial's values, the base's others, and nothing that nobody set."""
    base, best = load_config("conf/smoke.yaml"), load_config(written.config)
    assert {key: value_of(best, key) for key in SPACE} == written.best.params
    assert (best.ingest, best.encode, best.tokenizer) == (base.ingest, base.encode, base.tokenizer)
    text = written.config.read_text()
    assert f"multimodal run {written.config}" in text and f"{written.best.score:.4f}" in text
    assert yaml.safe_load(text).keys() == yaml.safe_load((ROOT / "conf/smoke.yaml").read_text()).keys()


def test_trials_and_index_are_there_for_programs(written):
    """trials.json holds every trial, index.json what the sweep depends on."""
    trials = json.loads((written.folder / "trials.json").read_text())
    assert [trial["end"] for trial in trials].count("complete") == 7
    assert {trial["reason"] for trial in trials} == {"", "fell behind", "<b>5 heads</b> do not fit"}
    assert json.loads((written.folder / "index.json").read_text())["parts"] == PARTS


def test_the_importance_plot_is_a_picture_and_is_on_the_page(written):
    """SVG with the keys as text in the page's colour, and PNG; the page holds the very same drawing."""
    svg = (written.folder / "importance.svg").read_text()
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert set(SPACE) <= set(texts)
    assert "currentColor" in svg and "#010203" not in svg
    assert (written.folder / "importance.png").read_bytes().startswith(b"\x89PNG")
    assert svg in written.page.read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_page_opens_on_a_phone_from_the_file_alone(written):
    """No console message, nothing fetched, no sideways scrolling; the plot is drawn, the best trial marked."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", offline=True).new_page()
        problems, fetched = [], []
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda request: fetched.append(request.url))
        page.goto(written.page.as_uri())
        width = page.evaluate("document.documentElement.scrollWidth")
        plot = page.locator(".importance svg").bounding_box()
        best, failed = page.locator("tr.best th").inner_text(), page.locator("tr.failed .why").inner_text()
        browser.close()
    assert not problems and all(url.startswith(("file:", "data:")) for url in fetched)
    assert width == 390 and plot["height"] > 50
    assert best == str(written.best.number) and failed == "<b>5 heads</b> do not fit"


@pytest.fixture
def corpus(tmp_path):
    """A dataset of noisy lines and random latents for them: enough to train on."""
    lines = [f"noisy txt {i}\tnoisy text {i}" for i in range(60)]
    (tmp_path / "denoise.tsv").write_text("input\ttext\n" + "\n".join(lines) + "\n")
    source = {"name": "denoise", "path": str(tmp_path / "denoise.tsv"), "task": "denoise"}
    info = ingest(IngestOptions.model_validate({"sources": [source]}), seed=0, workspace=tmp_path / "workspace")
    dataset, rng = Dataset(info.path), np.random.default_rng(0)
    ids = dataset.content_ids(Modality.TEXT)
    with LatentWriter(tmp_path / "latents", "fp", 8) as writer:
        for content_id in ids:
            writer.add(content_id, rng.normal(size=(5, 8)).astype(np.float16), rng.normal(size=4).astype(np.float32))
    return dataset, {Modality.TEXT: LatentsInfo(Modality.TEXT, tmp_path / "latents", "fp", 8, len(ids))}


def small_job(trial, **train):
    values = {"steps": 6, "batch_size": 8, "eval_every": 2, "checkpoint_every": 2, "eval_samples": 4} | train
    small = {"decoder.hidden_size": 32, "sampler.num_steps": 2, "tokenizer.max_tokens": 24}
    small |= {f"train.{name}": value for name, value in values.items()}
    config = load_config("conf/smoke.yaml", [override(*item) for item in small.items()] + trial.overrides)
    return TrainJob(config.tokenizer, config.decoder, config.train, config.sampler, config.seed)


def test_a_trial_trains_reports_and_is_resumed(corpus, tmp_path):
    """A training that was interrupted within a trial goes on where it was, and the trial has the whole curve."""
    options, steps, scores = options_of(space={RATE: SPACE[RATE]}, trials=2), [], {}

    def interrupted(step, metrics):
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), open_sweep(tmp_path / "sweep", options) as sweep:
        trial = sweep.ask()
        run_trial(trial, small_job(trial), *corpus, tmp_path, log=interrupted)
    with open_sweep(tmp_path / "sweep", options) as sweep:
        trial = sweep.ask()
        record = run_trial(
            trial, small_job(trial), *corpus, tmp_path,
            log=lambda step, metrics: scores.update({step: metrics["val/score"]} if "val/score" in metrics else {}),
            progress=lambda done, total: steps.append(done),
        )  # fmt: skip
    assert steps == [5, 6], "steps 1 to 4 were in the checkpoint"
    assert record.curve == scores and list(scores) == [2, 4, 6]
    assert (record.end, record.score) == ("complete", max(scores.values()))


def test_a_pruned_trial_leaves_no_checkpoints_and_a_known_training_is_not_repeated(corpus, tmp_path):
    """Pruned at its first score, a training stops and its checkpoints go; completed ones stay and are used again."""
    options = options_of(space={RATE: SPACE[RATE], "seed": {"choices": [0, 1]}}, trials=3, startup_trials=1)
    with open_sweep(tmp_path / "sweep", options) as sweep:
        good = sweep.ask()
        for step in (2, 4):
            good.report(step, 2.0)  # better than any real score
        assert run_trial(good, small_job(good), *corpus, tmp_path).end == "complete"
        assert len(list(tmp_path.glob("checkpoints/*/step-*"))) > 0
        kept = set(tmp_path.glob("checkpoints/*/step-*"))
        steps = []
        behind = sweep.ask()
        record = run_trial(behind, small_job(behind), *corpus, tmp_path, progress=lambda *at: steps.append(at))
        assert (record.end, steps[-1]) == ("pruned", (2, 6))
        assert set(tmp_path.glob("checkpoints/*/step-*")) == kept
    with open_sweep(tmp_path / "another", options) as sweep:
        again = sweep.ask()
        assert run_trial(again, small_job(again), *corpus, tmp_path, progress=pytest.fail).end == "complete"
        assert sweep.records[0].curve.keys() == {2, 4, 6}, "the known training's scores are reported again"


def test_a_trial_whose_options_do_not_work_fails_alone(corpus, tmp_path):
    """An error of the training is the trial's reason, in words."""
    with open_sweep(tmp_path / "sweep", options_of(space={RATE: SPACE[RATE]})) as sweep:
        trial = sweep.ask()
        record = run_trial(trial, small_job(trial, init_from=str(tmp_path / "gone")), *corpus, tmp_path)
    assert record.end == "failed" and "gone" in record.reason
    assert sweep.remaining == 7
