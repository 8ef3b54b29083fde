"""Texts drawn alone, against the same texts drawn in a batch."""

from __future__ import annotations

import numpy as np
import torch

from multimodal.decoder import ContinuousConfig, CrossAttentionDecoder, DecoderConfig
from multimodal.generation import Request, TextGenerator
from multimodal.generation.autoregressive import room
from multimodal.sample import Task
from multimodal.selfcheck.finding import Finding
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions

PROCESSES: dict[str, ContinuousConfig | None] = {
    "absorbing": None,
    "autoregressive": None,
    "speculative": None,
    "gaussian": ContinuousConfig("gaussian", embedding_size=16),
    "simplex": ContinuousConfig("simplex", block_size=5),
}


def untrained_generator(process: str) -> TextGenerator:
    """A small generator with random weights, large enough ones that its texts differ."""
    tokenizer = TextTokenizer.train(["a small red circle on grass", "turn on the light"], 300)
    torch.manual_seed(0)
    config = DecoderConfig(
        tokenizer.vocab_size, room(40), {"image": 6}, ("caption", "infill"), hidden_size=32, num_layers=2, num_heads=4,
        causal=process == "autoregressive", continuous=PROCESSES[process],
        process="speculative" if process == "speculative" else "absorbing",
    )  # fmt: skip
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        decoder.embedding.weight.mul_(20)
    return TextGenerator(decoder, tokenizer, {"caption": 12, "infill": 12})


def requests(count: int = 6) -> list[Request]:
    """Pictures of several numbers of latents, and texts of several lengths with gaps."""
    rng = np.random.default_rng(0)
    pictures = [
        Request(f"p{i}", Task.CAPTION, rng.normal(size=(3 + i % 4, 6)).astype(np.float32)) for i in range(count)
    ]
    return pictures + [Request(f"t{i}", Task.INFILL, text=f"a small {'red ' * i}___ on ___") for i in range(count)]


def batch_invariance() -> Finding:
    """Every kind of process, at temperature 1: alone, together, and in the other order."""
    options = SamplerOptions(num_steps=4, temperature=1.0, seed=7)
    asked, differing, distinct = requests(), [], 0
    for process in PROCESSES:
        generator = untrained_generator(process)
        together = [written.text for written in generator.generate(asked, options)]
        alone = [generator.generate([request], options)[0].text for request in asked]
        backwards = [written.text for written in generator.generate(asked[::-1], options)][::-1]
        differing += [process] * (not together == alone == backwards)
        distinct += len(set(together))
    total = len(asked) * len(PROCESSES)
    return Finding(
        not differing and distinct > total // 2,
        f"{total} texts of {', '.join(PROCESSES)}, {distinct} of them distinct; "
        f"{f'different in a batch: {differing}' if differing else 'all the same in a batch'}",
        "the same texts, most of them distinct",
    )
