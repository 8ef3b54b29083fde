"""Gaps whose length is chosen first."""

from dataclasses import replace

import pytest
import torch

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.diffusion.samplers import SamplerOutput
from multimodal.errors import RequestError
from multimodal.generation import Request, TextGenerator
from multimodal.generation.lengths import LengthChoice, keep_likeliest, length_probabilities, likeliest
from multimodal.sample import Task
from multimodal.tasks import GAP_SLOTS, Canvas
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions

TEXTS = ["a small red circle on grass", "turn on the light"]
MASK, PAD = 1, 0
TWO_GAPS = Canvas((9, MASK, MASK, 8, MASK, MASK, MASK), ((1, 3), (4, 7)))


@pytest.fixture(scope="module")
def generator() -> TextGenerator:
    """Random weights, whose lengths are hardly ever those of the texts written without a choice."""
    tokenizer = TextTokenizer.train(TEXTS, 300)
    torch.manual_seed(3)
    config = DecoderConfig(tokenizer.vocab_size, 60, {}, ("infill",), hidden_size=32, num_layers=2, num_heads=4)
    decoder = CrossAttentionDecoder(config).eval()
    with torch.no_grad():
        decoder.embedding.weight.mul_(20)
    return TextGenerator(decoder, tokenizer, {"infill": 12})


def gaps(count: int) -> list[Request]:
    texts = [f"a {'small ' * (2 * i)}___ circle on{' ___' * (i % 2)} grass" for i in range(count)]
    return [Request(f"g{i}", Task.INFILL, text=text) for i, text in enumerate(texts)]


def test_a_slot_is_padding_where_the_filling_is_shorter() -> None:
    """Slots that are padding with 0.1, 0.3 and 1 leave 0.1, 0.2, 0.7 and nothing for lengths 0 to 3; dips count as
    none, since padding ends a filling for good."""
    torch.testing.assert_close(
        length_probabilities(torch.tensor([0.1, 0.3, 1.0])), torch.tensor([0.1, 0.2, 0.7, 0.0]), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        length_probabilities(torch.tensor([0.4, 0.2])), torch.tensor([0.4, 0.0, 0.6]), atol=1e-5, rtol=0
    )


def test_the_likeliest_lengths_of_all_gaps() -> None:
    """Of two gaps with three and four possible lengths the best pairs by their product, which the canvas shows."""
    pad_probs = torch.tensor([0, 0.1, 0.4, 0, 0.2, 0.9, 1.0])  # lengths: 0.1 0.3 0.6 and 0.2 0.7 0.1 0.0
    found = likeliest(TWO_GAPS, pad_probs, 3)
    assert [choice.lengths for choice in found] == [(2, 1), (1, 1), (2, 0)]
    assert found[0].log_probability == pytest.approx(torch.tensor(0.6 * 0.7).log().item(), abs=1e-4)
    assert found[1].canvas(TWO_GAPS, PAD).tokens == (9, MASK, PAD, 8, MASK, PAD, PAD)


def test_the_joint_probability_decides() -> None:
    """A short filling of sure tokens loses to a longer one whose length is that much likelier, and the other way
    round; calls of all candidates count, and the look at the empty gap."""
    canvas = Canvas((9, MASK, MASK, 8), ((1, 3),))
    tokens = torch.tensor([[9, 5, PAD, 8], [9, 6, 7, 8]])
    confidence = torch.tensor([[1, 0.9, 1, 1], [1, 0.6, 0.6, 1]])
    output = SamplerOutput(tokens, confidence, torch.tensor([1, 2]), ())
    for short, expected in ((0.2, 1), (0.5, 0)):  # 0.2 * 0.9 < 0.8 * 0.36 and 0.5 * 0.9 > 0.5 * 0.36
        tried = [LengthChoice((1,), (short,)), LengthChoice((2,), (1 - short,))]
        kept = keep_likeliest([canvas], [tried], output)
        assert kept.tokens.tolist() == [tokens[expected].tolist()] and kept.nfe.tolist() == [4]
    assert kept.confidence[0].tolist() == pytest.approx([1, 0.9, 0.5, 1])  # the first padding tells of the length


def test_lengths_do_not_depend_on_the_batch(generator: TextGenerator) -> None:
    """Texts with one gap and two, of several lengths, alone and together, drawn or not; calls add up."""
    for temperature in (0.0, 1.0):
        options = SamplerOptions(num_steps=3, infill_lengths=3, temperature=temperature, seed=1)
        together = generator.generate(gaps(4), options)
        alone = [generator.generate([request], options)[0] for request in gaps(4)]
        assert [text.text for text in together] == [text.text for text in alone]
        assert [text.nfe for text in together] == [text.nfe for text in alone]
        assert all(1 < text.nfe <= 1 + 3 * 3 for text in together)


def test_the_likeliest_length_is_written_in_full(generator: TextGenerator) -> None:
    """With all lengths tried, the fillings still have at most as many tokens as a gap has slots, and given words
    stand; one length is what was written before there was a choice."""
    (written,) = generator.generate(gaps(1), SamplerOptions(num_steps=3, infill_lengths=GAP_SLOTS + 1))
    assert written.text.startswith("a ") and written.text.endswith("circle on grass")
    plain = generator.generate(gaps(1), SamplerOptions(num_steps=3))
    assert generator.generate(gaps(1), SamplerOptions(num_steps=3, infill_lengths=1)) == plain
    assert plain[0].nfe <= 3 < written.nfe


@pytest.mark.parametrize("change", [{"causal": True}, {"process": "uniform"}])
def test_decoders_without_masks_choose_no_lengths(generator: TextGenerator, change: dict[str, object]) -> None:
    """The message says what to set."""
    decoder = CrossAttentionDecoder(replace(generator.decoder.config, **change)).eval()  # type: ignore[arg-type]
    without = TextGenerator(decoder, generator.tokenizer, generator.canvas)
    with pytest.raises(RequestError, match="trained with masks, got 2; set it to 1"):
        without.generate(gaps(1), SamplerOptions(infill_lengths=2))
