"""Checkpoints: safetensors and JSON only, the optimiser included, written whole or not at all.

checkpoints/<fingerprint>/
  step-000400/            a model as `TextGenerator.load` reads it
    decoder.safetensors     averaged (EMA) weights, adapters merged into them
    config.json             decoder, canvas lengths, step
    tokenizer.json
    training/               what resuming needs: weights, averaged adapters, optimiser, counters
  history.jsonl           one line per logged step
  index.json              written last: parts of the fingerprint and the result
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from multimodal.fingerprint import new_folder, write_json
from multimodal.generation import WEIGHTS, write_model
from multimodal.tokenizer import TextTokenizer
from multimodal.training.finetuning.trainable import merged

RESUME, AVERAGED = "training", "averaged.safetensors"


@dataclass(frozen=True, slots=True)
class Progress:
    """Counters of a training.

    Args:
        step: optimiser steps done.
        seconds: spent in training so far, over all resumptions.
        best_score: best sampled val score, None before the first.
        best_step: when it was reached.
        scores_since_best: for early stopping.
    """

    step: int = 0
    seconds: float = 0.0
    best_score: float | None = None
    best_step: int = 0
    scores_since_best: int = 0


def step_folder(run: Path, step: int) -> Path:
    """Folder of one step's checkpoint."""
    return run / f"step-{step:06d}"


def finished_steps(run: Path) -> list[int]:
    """Steps that have a whole checkpoint, ascending."""
    return sorted(
        int(path.parent.parent.name.removeprefix("step-")) for path in run.glob(f"step-*/{RESUME}/progress.json")
    )


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    averaged: Mapping[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
    progress: Progress,
    config: Mapping[str, Any],
    tokenizer: TextTokenizer,
) -> None:
    """Write a checkpoint folder; `config` is what `TextGenerator.load` reads."""
    with new_folder(folder) as temporary:
        (temporary / RESUME).mkdir()
        plain = merged(model, averaged)
        write_model(temporary, plain, {**config, "step": progress.step}, tokenizer)
        _save_tensors(temporary / RESUME / AVERAGED, {name: averaged[name] for name in averaged.keys() - plain.keys()})
        _save_tensors(temporary / RESUME / "weights.safetensors", model.state_dict())
        _save_tensors(temporary / RESUME / "optimizer.safetensors", _optimizer_tensors(optimizers))
        write_json(temporary / RESUME / "progress.json", asdict(progress))


def restore_checkpoint(
    folder: Path, model: nn.Module, averaged: dict[str, Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> Progress:
    """Load a checkpoint into model, averaged weights and optimisers, all in place."""
    model.load_state_dict(safetensors.torch.load_file(folder / RESUME / "weights.safetensors"))
    plain = safetensors.torch.load_file(folder / WEIGHTS)
    plain |= safetensors.torch.load_file(folder / RESUME / AVERAGED)
    for name, tensor in averaged.items():
        tensor.copy_(plain[name])
    _restore_optimizers(optimizers, safetensors.torch.load_file(folder / RESUME / "optimizer.safetensors"))
    return Progress(**json.loads((folder / RESUME / "progress.json").read_text()))


def remove_other_steps(run: Path, keep: set[int]) -> None:
    """Drop the checkpoints of all steps but these."""
    for step in finished_steps(run):
        if step not in keep:
            shutil.rmtree(step_folder(run, step))


def _save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    safetensors.torch.save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def _optimizer_tensors(optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"{number}.{index}.{name}": torch.as_tensor(value)
        for number, optimizer in enumerate(optimizers)
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _restore_optimizers(optimizers: Sequence[torch.optim.Optimizer], tensors: Mapping[str, Tensor]) -> None:
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    for key, tensor in tensors.items():
        number, index, name = key.split(".", 2)
        states[int(number)].setdefault(int(index), {})[name] = tensor
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
