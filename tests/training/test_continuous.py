"""Continuous processes, from batches to texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from multimodal.decoder import ContinuousConfig, CrossAttentionDecoder
from multimodal.generation import Request, TextGenerator
from multimodal.sample import Task
from multimodal.training.batches import TaskBatches
from multimodal.training.checkpoint import step_folder
from multimodal.training.job import continuous_config
from multimodal.training.objective import build_objective
from multimodal.training.options import SamplerOptions, TrainOptions
from tests.training.conftest import Toy
from tests.training.test_loop import QUICK, Killed, weights

KINDS = {
    "gaussian": TrainOptions(process="gaussian"),
    "regressed": TrainOptions.model_validate({"process": "gaussian", "continuous": {"objective": "mse"}}),
    "simplex": TrainOptions.model_validate({"process": "simplex", "continuous": {"block_size": 7}}),
}


def toy_of(make_toy: Callable[..., Toy], kind: str, count: int = 8) -> Toy:
    """The toy corpus cut to a few samples, with a decoder for one of the processes and a score that costs nothing."""
    toy = make_toy()
    toy.samples = toy.samples[5::67][:count]
    config = replace(toy.decoder.config, dropout=0.0, continuous=continuous_config(KINDS[kind]))
    torch.manual_seed(0)
    toy.decoder = CrossAttentionDecoder(config)
    toy.batches = {
        task: TaskBatches(task, toy.samples, toy.tokenizer, latents, config, 16, 0.1, 3)
        for task, latents in ((Task.CAPTION, toy.latents), (Task.INFILL, None))
    }
    toy.score = lambda generator: {"val/score": 0.0}  # type: ignore[method-assign]
    return toy


@pytest.mark.parametrize("kind", KINDS)
def test_overfits_a_few_samples_and_writes_them(make_toy: Callable[..., Toy], tmp_path: Path, kind: str) -> None:
    """The loss falls to a tenth, the checkpoint writes every sample, and fills a gap with what stood there."""
    toy, losses = toy_of(make_toy, kind), []
    options = KINDS[kind].model_copy(
        update={"steps": 180, "batch_size": 32, "eval_every": 180, "checkpoint_every": 180, "warmup_steps": 20,
                "learning_rate": 4e-3, "mixed_precision": "no"}
    )  # fmt: skip
    toy.trainer(tmp_path, options, lambda step, metrics: losses.append(metrics.get("train/loss", math.nan))).train()
    assert losses[6] < 0.1 * losses[0]
    generator = TextGenerator.load(step_folder(tmp_path, 180))
    requests = [Request(s.sample_id, s.task, toy.latents.get(s.content_id)) for s in toy.samples]
    written = generator.generate(requests, SamplerOptions(num_steps=8))
    assert [w.text for w in written] == [s.text for s in toy.samples]
    assert all(w.nfe <= 8 for w in written)
    gap = Request("gap", Task.INFILL, text=toy.samples[0].text.replace("then", "___"))
    (filled,) = generator.generate([gap], SamplerOptions(num_steps=8))
    assert filled.filled == ("then",) and filled.text == toy.samples[0].text


@pytest.mark.parametrize("kind", ["gaussian", "simplex"])
def test_resume_after_a_kill_is_bit_identical(make_toy: Callable[..., Toy], tmp_path: Path, kind: str) -> None:
    """Noise, self-conditioning and blocks of a resumed step are what they would have been."""
    options = QUICK.model_copy(update={"process": KINDS[kind].process})
    toy_of(make_toy, kind).trainer(tmp_path / "whole", options, lambda *_: None).train()

    def kill(step: int, metrics: Mapping[str, float]) -> None:
        raise Killed

    with pytest.raises(Killed):
        toy_of(make_toy, kind).trainer(tmp_path / "killed", options, kill).train()
    toy_of(make_toy, kind).trainer(tmp_path / "killed", options, lambda *_: None).train()
    first, second = weights(tmp_path / "whole", 24), weights(tmp_path / "killed", 24)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_learns_from_a_step_with_self_conditioning(make_toy: Callable[..., Toy], kind: str) -> None:
    """In bf16 too, where weights that the first call cast without gradient must not be used again by the second."""
    toy = toy_of(make_toy, kind)
    options = KINDS[kind].model_copy(
        update={"continuous": KINDS[kind].continuous.model_copy(update={"self_conditioning": 1.0})}
    )
    objective = build_objective(toy.decoder, toy.tokenizer, options)
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(
            (objective(toy.batches[task].batch(0, 8), torch.Generator().manual_seed(0)).mean for task in toy.batches),
            torch.zeros(()),
        )
    loss.backward()
    unused = (
        {"embedding.weight"} if kind == "regressed" else set()
    )  # it holds the decoder's logits, of which there are none
    still = {name for name, p in toy.decoder.named_parameters() if p.grad is None or not p.grad.any()}
    assert still - {"condition_embedder.style.weight", "condition_embedder.null.image"} == unused  # none is dropped


def test_options_reach_the_checkpoint() -> None:
    """What writing must know of training; other processes have none of it."""
    assert continuous_config(TrainOptions()) is None
    assert continuous_config(KINDS["regressed"]) == ContinuousConfig("gaussian", objective="mse")
    assert continuous_config(KINDS["simplex"]) == ContinuousConfig("simplex", block_size=7)


def test_simplex_has_no_squared_error() -> None:
    """Refused before any work."""
    with pytest.raises(ValueError, match=r"mse is for train\.process gaussian"):
        TrainOptions.model_validate({"process": "simplex", "continuous": {"objective": "mse"}})
