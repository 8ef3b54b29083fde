"""What each of several processes does in tests/training/test_ranks.py: `torchrun ... trained_together.py OUT`."""

import hashlib
import json
import os
import sys
from pathlib import Path

import torch

from multimodal.errors import ConfigError
from multimodal.training.loop import Trainer
from multimodal.training.options import TrainOptions
from tests.training.conftest import build_toy

OPTIONS = TrainOptions(
    steps=8, batch_size=18, eval_every=4, checkpoint_every=2, warmup_steps=2, mixed_precision="no", patience=9,
    complementary=True, crops=0.2,
)  # fmt: skip
KILLED_AT = 5


class Killed(Exception):
    """Stands for kill -9: nothing of the trainer runs after it."""


class KilledTrainer(Trainer):
    def _step(self, step: int) -> dict[str, float]:
        if step == KILLED_AT:
            raise Killed
        return super()._step(step)


def trainer_of(run: Path, seen: list, process: str = "absorbing", options: TrainOptions = OPTIONS, kind=Trainer):
    """A trainer without dropout, which draws otherwise for every process, that notes what happens in `seen`."""
    toy = build_toy(process, dropout=0.0)

    def score(generator):
        seen.append("scored")
        return toy.score(generator)

    def log(step, metrics):
        seen.append(f"logged {step}")

    trainer = kind(
        toy.decoder, toy.tokenizer, toy.canvas, toy.batches, options, 3, run, score, log,
        lambda done, total: seen.append(f"done {done}"),
    )  # fmt: skip
    trainer.objective.register_forward_pre_hook(lambda module, given: seen.append(rows_of(given[0])))
    return trainer


def rows_of(batch) -> dict:
    return {"task": len(batch.own().x_0), "condition": len(batch.condition.task), "all": len(batch.x_0)}


def losses_of(trainer: Trainer) -> list[dict[str, float]]:
    """Of each step, with its gradient norm; the trainer trains."""
    found, step = [], trainer._step

    def noted(number: int) -> dict[str, float]:
        found.append(step(number))
        return found[-1]

    trainer._step = noted
    trainer.train()
    return found


def digest(trainer: Trainer) -> str:
    parts = [tensor.numpy().tobytes() for tensor in trainer.decoder.state_dict().values()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def main(out: Path) -> None:
    torch.use_deterministic_algorithms(True)
    rank, seen, found = int(os.environ["RANK"]), [], {}
    whole = trainer_of(out / "whole", seen)
    found["losses"], found["seen"], found["weights"] = losses_of(whole), list(seen), digest(whole)
    try:
        trainer_of(out / "killed", seen, kind=KilledTrainer).train()
    except Killed:
        resumed = trainer_of(out / "killed", seen)
        found["resumed"] = len(losses_of(resumed))
        found["resumed_weights"] = digest(resumed)
    hybrid = trainer_of(out / "hybrid", seen, "hybrid", OPTIONS.model_copy(update={"steps": 2, "crops": 0.0}))
    found["hybrid"], found["hybrid_weights"] = losses_of(hybrid), digest(hybrid)
    try:
        trainer_of(out / "few", seen, options=OPTIONS.model_copy(update={"batch_size": 2}))
    except ConfigError as error:
        found["refused"] = str(error)
    (out / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
