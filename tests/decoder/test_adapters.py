"""Adapters: fewer condition tokens than latents."""

from dataclasses import replace

import pytest
import torch

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.decoder.adapters import LatentAdapter, join_neighbours
from tests.decoder.test_decoder import CONFIG, condition_input, run

SHORTER = {
    "resample": replace(CONFIG, resample={"image": 2}),
    "downsample": replace(CONFIG, downsample={"image": 3}),
    "both": replace(CONFIG, resample={"image": 2}, downsample={"image": 2}),
}


@pytest.fixture(params=SHORTER)
def config(request: pytest.FixtureRequest) -> DecoderConfig:
    return SHORTER[request.param]


@pytest.fixture
def decoder(config: DecoderConfig) -> CrossAttentionDecoder:
    torch.manual_seed(0)
    return CrossAttentionDecoder(config).eval()


def test_padding_changes_nothing(decoder: CrossAttentionDecoder) -> None:
    """Latents beyond the mask are not read, whatever they hold: neither by queries nor by what joins neighbours."""
    for padding in (1, 4):
        torch.testing.assert_close(run(decoder, condition_input()), run(decoder, condition_input(padding=padding)))


def test_latents_still_matter(decoder: CrossAttentionDecoder) -> None:
    """The last of five latents changes the logits."""
    base = condition_input()
    assert base.hidden_states is not None
    changed = base.hidden_states.clone()
    changed[:, -1] *= -1
    gap = run(decoder, replace(base, hidden_states=changed)) - run(decoder, base)
    assert gap.abs().max() > 1e-4


@pytest.mark.parametrize(("name", "tokens"), [("resample", 2), ("downsample", 2), ("both", 2)])
def test_there_are_fewer_keys(name: str, tokens: int) -> None:
    """Task, style and null, and then as many as were asked for in place of five latents."""
    condition = CrossAttentionDecoder(SHORTER[name]).condition(condition_input())
    assert condition.bias.shape[-1] == 3 + tokens


def test_neighbours_are_joined_in_order() -> None:
    """Two by two; the odd last one stands beside zeros, and what is masked counts as zero."""
    latents = torch.arange(1.0, 6).view(1, 5, 1)
    mask = torch.tensor([[True, True, True, False, False]])
    joined, kept = join_neighbours(latents, mask, 2)
    assert joined.tolist() == [[[1, 2], [3, 0], [0, 0]]] and kept.tolist() == [[True, True, False]]


def test_a_row_without_latents_gives_numbers() -> None:
    """No softmax over nothing: the row is masked, and finite."""
    adapter = LatentAdapter(SHORTER["resample"], "image")
    found = adapter(torch.randn(1, 5, 12), torch.zeros(1, 5, dtype=torch.bool))
    assert found.tokens.isfinite().all() and not found.mask.any()


def test_a_grid_is_not_joined() -> None:
    """Neighbours in a picture's running index are not neighbours in the picture."""
    with pytest.raises(ValueError, match="grid"):
        replace(CONFIG, grid_positions={"image": 5}, downsample={"image": 2})
