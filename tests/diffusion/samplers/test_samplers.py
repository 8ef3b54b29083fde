"""What holds for every sampler."""

import pytest
import torch
from torch import Tensor

from multimodal.diffusion import SAMPLERS_OF, sampler_for
from multimodal.diffusion.processes import PROCESSES, UniformProcess
from multimodal.diffusion.samplers import SAMPLERS, Sampler, SamplerOutput
from multimodal.diffusion.samplers.posterior import ProcessSampler

MASK, VOCAB, LENGTH = 1, 9, 7
LOGITS = torch.randn(5, LENGTH, VOCAB, generator=torch.Generator().manual_seed(3)) * 2

every_sampler = pytest.mark.parametrize("name", SAMPLERS)


def build(name: str, num_steps: int, **options: object) -> Sampler:
    """The sampler of that name; where it takes a process, the uniform one."""
    if issubclass(SAMPLERS[name], ProcessSampler):
        options["process"] = UniformProcess(MASK, VOCAB)
    return SAMPLERS[name](MASK, num_steps, **options)  # type: ignore[arg-type]


def denoiser(tokens: Tensor, rows: Tensor) -> Tensor:
    """Looks at the canvas: each token shifts the logits of its right neighbour."""
    logits = LOGITS[rows].clone()
    logits[:, 1:] += torch.nn.functional.one_hot((tokens[:, :-1] + 1) % VOCAB, VOCAB)
    return logits


def start() -> Tensor:
    canvas = torch.full((5, LENGTH), MASK)
    canvas[1, :3] = torch.tensor([4, 5, 6])
    return canvas


def sample(sampler: Sampler, rows: list[int]) -> SamplerOutput:
    index = torch.tensor(rows)
    generators = [torch.Generator().manual_seed(row) for row in rows]
    return sampler.sample(lambda tokens, some: denoiser(tokens, index[some]), start()[index], generators, True)


@every_sampler
@pytest.mark.parametrize("num_steps", [1, 3, 12])
def test_no_mask_is_left_and_given_tokens_stay(name: str, num_steps: int) -> None:
    """In at most `num_steps` calls; what was written has a probability, what was given has 1."""
    output = sample(build(name, num_steps), [0, 1, 2, 3, 4])
    assert not (output.tokens == MASK).any() and output.nfe.max() <= num_steps
    assert output.tokens[1, :3].tolist() == [4, 5, 6] and output.confidence[1, :3].tolist() == [1, 1, 1]
    assert ((output.confidence[0] > 0) & (output.confidence[0] < 1)).all()
    assert torch.equal(output.trajectory[-1], output.tokens)


@every_sampler
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_row_does_not_depend_on_its_batch(name: str, temperature: float) -> None:
    """Alone, among others, and in another order: the same tokens from the same number of calls."""
    sampler = build(name, 4, temperature=temperature)
    together, turned = sample(sampler, [0, 1, 2, 3, 4]), sample(sampler, [4, 3, 2, 1, 0])
    for row in range(5):
        alone = sample(sampler, [row])
        assert torch.equal(alone.tokens[0], together.tokens[row]) and alone.nfe[0] == together.nfe[row]
        assert torch.equal(turned.tokens[4 - row], together.tokens[row])


@every_sampler
def test_a_certain_denoiser_is_believed(name: str) -> None:
    """Where every position is certain, every sampler writes the same text."""
    truth = torch.tensor([[2, 3, 4, 5, 6, 7, 8]])
    logits = torch.nn.functional.one_hot(truth, VOCAB) * 60.0
    generators = [torch.Generator().manual_seed(0)]
    output = build(name, 5).sample(lambda tokens, rows: logits[rows], start()[:1], generators)
    assert torch.equal(output.tokens, truth)


@pytest.mark.parametrize("name", ["ancestral", "remasking", "posterior", "renoising"])
def test_chance_needs_generators(name: str) -> None:
    """Samplers that draw say so."""
    with pytest.raises(ValueError, match="generator"):
        build(name, 2).sample(denoiser, start())


def test_every_process_has_samplers() -> None:
    """Each knows at least one, its own first, and every sampler goes with some process."""
    assert SAMPLERS_OF.keys() == PROCESSES.keys()
    assert {name for names in SAMPLERS_OF.values() for name in names} == set(SAMPLERS)
    assert [sampler_for(process, "auto") for process in PROCESSES] == [
        "confidence",
        "renoising",
        "revision",
        "confidence",
    ]


def test_a_sampler_that_does_not_fit_is_refused() -> None:
    """The message names what would do."""
    with pytest.raises(ValueError, match=r"'confidence' does not go .* 'uniform'; auto, renoising, posterior do"):
        sampler_for("uniform", "confidence")
