"""The training loop."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from multimodal.generation import Request, TextGenerator
from multimodal.sample import Task
from multimodal.training.checkpoint import finished_steps, step_folder
from multimodal.training.options import SamplerOptions, TrainOptions
from tests.training.conftest import Toy

QUICK = TrainOptions(steps=24, batch_size=16, eval_every=12, checkpoint_every=4, warmup_steps=4, mixed_precision="no")


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer runs after it."""


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    import safetensors.torch

    return safetensors.torch.load_file(step_folder(run, step) / "training" / "weights.safetensors")


@pytest.mark.parametrize(
    "process",
    [
        "absorbing",
        "autoregressive",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("uniform", "hybrid", "speculative")),
    ],
)
def test_learns_to_read_its_condition(make_toy: Callable[..., Toy], tmp_path: Path, process: str) -> None:
    """After a short training the text says what the latents say, and infill reads the words around its gap: by every
    process of diffusion as by the autoregressive twin."""
    toy = make_toy(process)
    options = TrainOptions(
        process=process, steps=240, batch_size=64, eval_every=240, checkpoint_every=240, learning_rate=4e-3
    )
    done = toy.trainer(tmp_path, options, lambda *_: None).train()
    assert done.best_score is not None and done.best_score >= 0.9
    generator = TextGenerator.load(step_folder(tmp_path, done.best_step))
    swapped = Request("x", Task.CAPTION, toy.latents.get("red-white-blue"))
    assert generator.generate([swapped], SamplerOptions())[0].text == "first red then white and last blue"
    (filled,) = generator.generate(
        [Request("y", Task.INFILL, text="first red ___ white and last blue")], SamplerOptions()
    )
    assert filled.filled == ("then",)
    assert filled.text == "first red then white and last blue"


@pytest.mark.parametrize("process", ["absorbing", "uniform", "hybrid"])
def test_resume_after_a_kill_is_bit_identical(make_toy: Callable[..., Toy], tmp_path: Path, process: str) -> None:
    """Weights and logged losses of a killed and resumed run equal those of an undisturbed one."""
    every = {"process": process, "complementary": process != "uniform", "crops": 0.2, "noise_skew": 1.5}
    options = QUICK.model_copy(update=every)
    make_toy(process).trainer(tmp_path / "whole", options, lambda *_: None).train()

    def kill_at_13(step: int, metrics: Mapping[str, float]) -> None:
        if step >= 20:
            raise Killed

    with pytest.raises(Killed):
        make_toy(process).trainer(tmp_path / "killed", options, kill_at_13).train()
    assert max(finished_steps(tmp_path / "killed")) < QUICK.steps
    make_toy(process).trainer(tmp_path / "killed", options, lambda *_: None).train()
    first, second = weights(tmp_path / "whole", 24), weights(tmp_path / "killed", 24)
    assert all(torch.equal(first[name], second[name]) for name in first)
    histories = [(tmp_path / run / "history.jsonl").read_text().splitlines() for run in ("whole", "killed")]
    last = [json.loads(lines[-1]) for lines in histories]
    assert last[0]["val/score"] == last[1]["val/score"]
    steps = [[json.loads(line)["step"] for line in lines] for lines in histories]
    assert steps[0] == steps[1]


def test_checkpoints_hold_no_pickle(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """Safetensors and JSON only, and no more checkpoints than the newest and the best."""
    make_toy().trainer(tmp_path, QUICK, lambda *_: None).train()
    suffixes = {path.suffix for path in tmp_path.rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".jsonl"}
    assert len(finished_steps(tmp_path)) <= 2


def test_stops_when_the_score_stops_rising(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """With a score that never rises, patience ends the run early and the first score's step stays the best."""
    toy = make_toy()
    toy.score = lambda generator: {"val/score": 0.5}  # type: ignore[method-assign]
    options = QUICK.model_copy(update={"steps": 100, "eval_every": 4, "patience": 2})
    done = toy.trainer(tmp_path, options, lambda *_: None).train()
    assert (done.step, done.best_step) == (12, 4)


def test_a_broken_gradient_changes_nothing(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """A step whose gradient is not finite is left out instead of spoiling the weights."""
    toy = make_toy()
    trainer = toy.trainer(tmp_path, QUICK, lambda *_: None)
    before = {name: tensor.clone() for name, tensor in toy.decoder.state_dict().items()}
    handle = toy.decoder.embedding.weight.register_hook(lambda gradient: gradient * float("nan"))
    trainer._step(0)
    handle.remove()
    assert all(torch.equal(before[name], tensor) for name, tensor in toy.decoder.state_dict().items())


@pytest.mark.slow
def test_compiled_blocks_learn_the_same(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """`compile` changes a loss by rounding only; texts for scores are written by the plain blocks."""
    losses: dict[bool, list[float]] = {}
    for compiled in (False, True):
        torch._dynamo.utils.counters.clear()
        logged = losses.setdefault(compiled, [])
        options = QUICK.model_copy(update={"compile": compiled, "steps": 8, "eval_every": 8})
        log = lambda step, metrics, to=logged: to.extend(v for name, v in metrics.items() if name == "train/loss")  # noqa: E731
        make_toy("absorbing").trainer(tmp_path / str(compiled), options, log).train()
        calls = torch._dynamo.utils.counters["stats"]["calls_captured"]
        assert bool(calls) == compiled
    assert losses[True] == pytest.approx(losses[False], rel=1e-2)  # Muon's steps in bf16 magnify rounding
    assert weights(tmp_path / "True", 8).keys() == weights(tmp_path / "False", 8).keys()
