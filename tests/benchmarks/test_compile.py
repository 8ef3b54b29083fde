"""What `torch.compile` gains for a decoder's blocks, and what compiling them costs.

    OMP_NUM_THREADS=1 python -m pytest tests/benchmarks/test_compile.py -m benchmark -s        about five minutes

Blocks of the sample's shape, plain and compiled, in turns in one process, processor time: what writing calls (float32,
no gradients) and what training calls (bfloat16, forward and backward).
"""

from __future__ import annotations

import copy
import time
from statistics import median

import pytest
import torch
from torch import nn

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(3600)]

WIDTH, HEADS, LAYERS = 192, 6, 4
SHAPES = {"writing": ((1, 18, 12), (1, 24, 60), (32, 18, 12), (32, 24, 60)), "training": ((32, 24, 40), (36, 32, 60))}
"""Texts, tokens, latents."""


def arguments(texts: int, tokens: int, latents: int) -> tuple[torch.Tensor, ...]:
    keys, values = (torch.randn(texts, HEADS, latents, WIDTH // HEADS) for _ in range(2))
    return torch.randn(texts, tokens, WIDTH), keys, values, torch.zeros(texts, 1, 1, latents)


def call(blocks: nn.ModuleList, purpose: str, x: torch.Tensor, *condition: torch.Tensor) -> torch.Tensor:
    with torch.set_grad_enabled(purpose == "training"), torch.autocast("cpu", enabled=purpose == "training"):
        for block in blocks:
            x = block(x, *condition)
    if purpose == "training":
        x.float().square().mean().backward()
    return x.detach()


@pytest.mark.parametrize("purpose", SHAPES)
def test_compiled_blocks(purpose: str) -> None:
    """Compiled blocks give the same to rounding, and are faster in both uses."""
    torch.manual_seed(0)
    shape = {"hidden_size": WIDTH, "num_layers": LAYERS, "num_heads": HEADS}
    config = DecoderConfig(vocab_size=64, max_tokens=60, latent_sizes={}, tasks=("caption",), **shape)
    decoder = CrossAttentionDecoder(config).train(purpose == "training")
    compiled = copy.deepcopy(decoder)
    compiled.compile_blocks()
    for sizes in SHAPES[purpose]:
        inputs, started = arguments(*sizes), time.perf_counter()
        same = call(compiled.blocks, purpose, *inputs)
        seconds = time.perf_counter() - started
        torch.testing.assert_close(same, call(decoder.blocks, purpose, *inputs), rtol=0.05, atol=0.05)
        spent: dict[str, list[float]] = {"plain": [], "compiled": []}
        for _ in range(8 if sizes[0] > 1 else 60):
            for name, one in (("plain", decoder), ("compiled", compiled)):
                started = time.process_time()
                call(one.blocks, purpose, *inputs)
                spent[name].append(time.process_time() - started)
        plain, fast = median(spent["plain"]), median(spent["compiled"])
        print(f"\n{purpose} {sizes}: first call {seconds:.0f} s, then {plain / fast:.2f} times as fast ", end="")
        print(f"({1e3 * plain:.1f} and {1e3 * fast:.1f} ms)", end="")
        assert fast < 1.02 * plain
