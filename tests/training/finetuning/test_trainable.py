"""Frozen parts and low-rank adapters."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from multimodal.decoder import ContinuousConfig, CrossAttentionDecoder
from multimodal.errors import ConfigError
from multimodal.generation import TextGenerator
from multimodal.training.checkpoint import step_folder
from multimodal.training.finetuning.options import LoraOptions
from multimodal.training.finetuning.trainable import PARTS, merged, prepare
from multimodal.training.options import TrainOptions
from tests.decoder.test_decoder import CONFIG, condition_input, tokens
from tests.training.conftest import Toy
from tests.training.test_loop import QUICK, Killed, weights

LORA = LoraOptions(rank=4, alpha=8)


def test_every_weight_belongs_to_one_part() -> None:
    """Nothing is trained or frozen by chance."""
    from dataclasses import replace

    full = replace(
        CONFIG,
        drafts=("denoise",),
        draft_layers=1,
        resample={"image": 2},
        embedding_norm=True,
        grid_positions={"image": 5},
        rates={"text": 0.3},
        continuous=ContinuousConfig("gaussian", objective="mse"),
    )
    for name, _ in CrossAttentionDecoder(full).named_parameters():
        assert sum(name.startswith(starts) for starts in PARTS.values()) == 1, name


def test_adapters_change_nothing_at_first_and_merge_exactly() -> None:
    """Fresh adapters leave the logits alone; whatever they become, the merged weights do the same."""
    torch.manual_seed(0)
    decoder = CrossAttentionDecoder(CONFIG).eval()
    names = decoder.state_dict().keys()

    def logits(model: CrossAttentionDecoder) -> torch.Tensor:
        with torch.no_grad():
            output: torch.Tensor = model(tokens(), model.condition(condition_input()))
        return output

    before = logits(decoder)
    prepare(decoder, (), LORA)
    torch.testing.assert_close(logits(decoder), before)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if "lora_" in name:
                weight.normal_(0.0, 0.2)
    after = logits(decoder)
    assert (after - before).abs().max() > 1e-2
    plain = CrossAttentionDecoder(CONFIG).eval()
    plain.load_state_dict(merged(decoder, decoder.state_dict()))
    assert plain.state_dict().keys() == names
    torch.testing.assert_close(logits(plain), after, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_frozen_weights_stay_bit_identical(make_toy: Callable[..., Toy], tmp_path: Path, optimizer: str) -> None:
    """In what is served as in what is trained on; all others move."""
    toy = make_toy()
    before = {name: tensor.clone() for name, tensor in toy.decoder.state_dict().items()}
    options = QUICK.model_copy(update={"steps": 4, "eval_every": 4, "optimizer": optimizer})
    prepare(toy.decoder, ("backbone", "embeddings"), None)
    toy.trainer(tmp_path, options, lambda *_: None).train()
    after = safetensors.torch.load_file(step_folder(tmp_path, 4) / "decoder.safetensors")
    frozen = {name for name in before if name.startswith((*PARTS["backbone"], *PARTS["embeddings"]))}
    assert {name for name in before if torch.equal(before[name], after[name])} - frozen <= {
        "condition_embedder.style.weight"
    }
    assert all(torch.equal(before[name], after[name]) for name in frozen) and len(frozen) > 10


def test_served_weights_hold_no_adapters(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """A plain decoder loads them; its blocks have moved, though their own weights were frozen."""
    toy = make_toy()
    before = {name: tensor.clone() for name, tensor in toy.decoder.state_dict().items()}
    prepare(toy.decoder, ("embeddings", "adapters", "condition"), LORA)
    toy.trainer(tmp_path, QUICK, lambda *_: None).train()
    served = TextGenerator.load(step_folder(tmp_path, QUICK.steps)).decoder.state_dict()
    moved = {name for name in before if not torch.equal(served[name], before[name])}
    assert moved and all(name.startswith("blocks.") and "norm" not in name for name in moved)


def test_resume_with_adapters_is_bit_identical(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """A killed and resumed run ends with the weights of an undisturbed one."""

    def run(name: str, log: Callable[..., None]) -> None:
        toy = make_toy()
        torch.manual_seed(5)
        prepare(toy.decoder, (), LORA)
        toy.trainer(tmp_path / name, QUICK, log).train()

    def kill(step: int, metrics: object) -> None:
        if step >= 20:
            raise Killed

    run("whole", lambda *_: None)
    with pytest.raises(Killed):
        run("killed", kill)
    run("killed", lambda *_: None)
    for read in (
        weights,
        lambda path, step: safetensors.torch.load_file(step_folder(path, step) / "decoder.safetensors"),
    ):
        first, second = read(tmp_path / "whole", 24), read(tmp_path / "killed", 24)
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_something_must_be_left_to_train() -> None:
    """Freezing everything is refused; with adapters it is not everything."""
    options = TrainOptions(freeze=tuple(PARTS))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="nothing is left"):
        prepare(CrossAttentionDecoder(CONFIG), options.freeze, None)
    prepare(CrossAttentionDecoder(CONFIG), options.freeze, LORA)
