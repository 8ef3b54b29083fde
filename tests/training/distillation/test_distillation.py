"""Distillation: a student's one step says what its teacher's two say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.errors import ConfigError
from multimodal.generation import Request, TextGenerator, write_model
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.batches import TaskBatches
from multimodal.training.checkpoint import step_folder
from multimodal.training.distillation.objective import DistillationObjective
from multimodal.training.objective import build_objective
from multimodal.training.options import SamplerOptions, TrainOptions
from tests.training.conftest import WORDS, Toy, ToyLatents
from tests.training.test_loop import Killed, weights

TRAIN = TrainOptions(
    steps=300, batch_size=40, eval_every=300, checkpoint_every=300, learning_rate=1e-2, warmup_steps=10,
    optimizer="adamw", condition_dropout=0.0, mixed_precision="no",
)  # fmt: skip


def texts_of(word: str) -> list[str]:
    """Texts of one content and how often each is right. The likeliest first word does not go with the likeliest second
    one, so that what a single call writes is wrong, however well it knows the content."""
    a, b, c, d, e = ((WORDS * 2)[WORDS.index(word) + step] for step in range(5))
    return [f"{a} {b}"] * 3 + [f"{a} {c}"] * 3 + [f"{d} {e}"] * 4


class Correlated(Toy):
    """Texts of two words that depend on each other."""

    def score(self, generator: TextGenerator, num_steps: int = 1) -> Mapping[str, float]:
        """The share of contents that get one of their texts, written in so many steps."""
        requests = [Request(word, Task.CAPTION, self.latents.get(word)) for word in WORDS]
        written = generator.generate(requests, SamplerOptions(kind="scheduled", num_steps=num_steps))
        right = [one.text in texts_of(word) for one, word in zip(written, WORDS, strict=True)]
        return {"val/score": sum(right) / len(right)}


def correlated() -> Correlated:
    samples = [
        Sample(f"{word}{i}", word, Modality.IMAGE, Task.CAPTION, Split.TRAIN, "g", "toy", f"toy#{word}{i}", text)
        for word in WORDS for i, text in enumerate(texts_of(word))
    ]  # fmt: skip
    tokenizer = TextTokenizer.train((sample.text for sample in samples), 330)
    config = DecoderConfig(
        tokenizer.vocab_size, 4, {"image": len(WORDS)}, ("caption",), hidden_size=32, num_layers=2, num_heads=2
    )
    torch.manual_seed(0)
    latents = ToyLatents()
    batches = {Task.CAPTION: TaskBatches(Task.CAPTION, samples, tokenizer, latents, config, 3, 0.0, 3)}
    return Correlated(tokenizer, CrossAttentionDecoder(config), samples, batches, latents, {"caption": 3})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the toy world."""
    run = tmp_path_factory.mktemp("teacher")
    done = correlated().trainer(run, TRAIN, lambda *_: None).train()
    return step_folder(run, done.step)


def student_options(teacher: Path, **halving: object) -> TrainOptions:
    values = TRAIN.model_dump() | {"init_from": str(teacher), "distill": {"num_steps": 1, **halving}, "steps": 80}
    return TrainOptions.model_validate(values | {"learning_rate": 5e-3, "checkpoint_every": 10})


def student_of(teacher: Path) -> Correlated:
    toy = correlated()
    toy.decoder.load_state_dict(TextGenerator.load(teacher).decoder.state_dict())
    return toy


def test_one_step_of_the_student_is_as_good_as_two_of_its_teacher(teacher: Path, tmp_path: Path) -> None:
    """The teacher's one step joins what does not belong together; the student's is right, and its two cost at most
    one text."""
    toy = student_of(teacher)
    before = [toy.score(TextGenerator.load(teacher), steps)["val/score"] for steps in (1, 2)]
    done = toy.trainer(tmp_path, student_options(teacher), lambda *_: None).train()
    student = TextGenerator.load(step_folder(tmp_path, done.step))
    after = [toy.score(student, steps)["val/score"] for steps in (1, 2)]
    assert before[0] <= 0.25 and before[1] >= 0.75, before
    assert after[0] >= before[1], (before, after)
    assert after[1] >= before[1] - 1 / len(WORDS), (before, after)


def test_resume_after_a_kill_is_bit_identical(teacher: Path, tmp_path: Path) -> None:
    """As of any training: the draws of an ancestral teacher come again too."""
    options = student_options(teacher, trajectory="ancestral").model_copy(update={"steps": 20})
    student_of(teacher).trainer(tmp_path / "whole", options, lambda *_: None).train()

    def kill(step: int, metrics: Mapping[str, float]) -> None:
        if step >= 20:
            raise Killed

    with pytest.raises(Killed):
        student_of(teacher).trainer(tmp_path / "killed", options, kill).train()
    student_of(teacher).trainer(tmp_path / "killed", options, lambda *_: None).train()
    first, second = weights(tmp_path / "whole", 20), weights(tmp_path / "killed", 20)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_student_that_is_its_teacher_has_nothing_to_learn_of_what_stays_closed(teacher: Path) -> None:
    """Where no mask is opened before the last call, an ancestral teacher's targets are the student's own words."""
    toy = student_of(teacher)
    options = student_options(teacher, trajectory="ancestral")
    objective = build_objective(toy.decoder.eval(), toy.tokenizer, options)
    assert isinstance(objective, DistillationObjective)
    batch = toy.batches[Task.CAPTION].batch(0, 16)
    assert objective(batch, torch.Generator().manual_seed(0)).mean > 0.01
    objective.steps = type(objective.steps)(toy.tokenizer.mask_token_id, 1, 1, confident=False)
    assert objective(batch, torch.Generator().manual_seed(0)).mean.abs() < 1e-5


def test_gradients_reach_the_student_alone(teacher: Path) -> None:
    """The teacher stays as it is, and without dropout."""
    toy = student_of(teacher)
    objective = build_objective(toy.decoder, toy.tokenizer, student_options(teacher)).train()
    assert isinstance(objective, DistillationObjective)
    objective(toy.batches[Task.CAPTION].batch(0, 8), torch.Generator().manual_seed(0)).mean.backward()
    assert toy.decoder.embedding.weight.grad is not None
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())


def test_hybrid_students_learn_to_correct_from_their_teacher(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """Every open position is scored, the visible ones too."""
    toy = make_toy("hybrid")
    save(toy, tmp_path)
    options = student_options(tmp_path).model_copy(update={"process": "hybrid"})
    objective = build_objective(toy.decoder, toy.tokenizer, options)
    batch = toy.batches[Task.CAPTION].batch(0, 8)
    loss = objective(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss.weight, batch.weights[batch.open_positions].sum())


def test_a_teacher_that_does_not_fit_is_refused(make_toy: Callable[..., Toy], tmp_path: Path) -> None:
    """One of another process, and one that lacks a task of the data."""
    hybrid, both = make_toy("hybrid"), make_toy()
    save(hybrid, tmp_path / "hybrid")
    with pytest.raises(ConfigError, match="trained by 'hybrid'"):
        build_objective(both.decoder, both.tokenizer, student_options(tmp_path / "hybrid"))
    one = correlated()
    save(one, tmp_path / "one")
    with pytest.raises(ConfigError, match="does not know infill"):
        build_objective(both.decoder, both.tokenizer, student_options(tmp_path / "one"))


def save(toy: Toy, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    write_model(
        folder,
        toy.decoder.state_dict(),
        {"decoder": toy.decoder.config.to_dict(), "canvas": toy.canvas},
        toy.tokenizer,
    )
