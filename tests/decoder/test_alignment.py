"""Places of latents in the text, and attention drawn to them."""

from dataclasses import replace

import pytest
import torch

from multimodal.decoder import CrossAttentionDecoder
from multimodal.decoder.adapters import LatentAdapter
from multimodal.decoder.layers import Alignment
from tests.decoder.test_decoder import CONFIG, condition_input, tokens

ORDERED = replace(CONFIG, rates={"image": 0.5})


@pytest.fixture(scope="module")
def reader() -> CrossAttentionDecoder:
    """A decoder whose latents follow the text's order."""
    torch.manual_seed(0)
    return CrossAttentionDecoder(ORDERED).eval()


def test_latents_start_out_evenly_spread() -> None:
    """At a rate of a half, two latents stand for each token: the first token's lie at -0.25 and 0.25."""
    adapter = LatentAdapter(ORDERED, "image")
    adapter.initialise()
    found = adapter(torch.randn(2, 6, 12), torch.tensor([[True] * 6, [True] * 4 + [False] * 2]))
    torch.testing.assert_close(found.places[0], torch.tensor([-0.25, 0.25, 0.75, 1.25, 1.75, 2.25]))
    torch.testing.assert_close(found.lengths, torch.tensor([3.0, 2.0]))


def test_joined_latents_stand_for_more() -> None:
    """Two neighbours emit twice the rate; queries that read latents in the decoder's stead lie nowhere."""
    latents, mask = torch.randn(1, 6, 12), torch.ones(1, 6, dtype=torch.bool)
    ordered = replace(ORDERED, rates={"image": 0.25})
    joined = LatentAdapter(replace(ordered, downsample={"image": 2}), "image")
    joined.initialise()
    torch.testing.assert_close(joined(latents, mask).lengths, torch.tensor([1.5]))
    assert LatentAdapter(replace(ordered, resample={"image": 2}), "image")(latents, mask).places is None


def test_latents_without_an_order_have_no_place(reader: CrossAttentionDecoder) -> None:
    """Neither have task, style and the null token."""
    torch.manual_seed(0)
    assert CrossAttentionDecoder(CONFIG).condition(condition_input()).places is None
    places = reader.condition(condition_input(padding=1)).places
    assert places is not None and places[:, :3].isnan().all() and not places[:, 3:].isnan().any()


def test_each_head_falls_with_distance_by_its_own_slope() -> None:
    """Minus slope times tokens between; nothing where there is no place; later tokens know where they are."""
    alignment = Alignment(3)
    places = torch.tensor([[torch.nan, 0.0, 2.5]])
    bias = alignment(torch.arange(4), places)
    assert bias.shape == (1, 3, 4, 3)
    assert (bias[..., 0] == 0).all() and (bias[:, 0] == 0).all()
    torch.testing.assert_close(bias[0, 2, :, 2], -alignment.slopes[2] * torch.tensor([2.5, 1.5, 0.5, 0.5]))
    torch.testing.assert_close(alignment(torch.tensor([3]), places), bias[:, :, 3:])


def test_padding_emits_nothing(reader: CrossAttentionDecoder) -> None:
    """A text's latents lie where they lay without the padding, and count the same tokens."""
    alone, padded = reader.condition(condition_input()), reader.condition(condition_input(padding=3))
    assert alone.lengths is not None and padded.lengths is not None
    assert alone.places is not None and padded.places is not None
    torch.testing.assert_close(alone.lengths, padded.lengths)
    torch.testing.assert_close(alone.places[:, 3:], padded.places[:, 3:8])
    with torch.no_grad():
        torch.testing.assert_close(reader(tokens(), alone), reader(tokens(), padded), atol=1e-5, rtol=1e-4)


def test_places_are_learnt_through_attention(reader: CrossAttentionDecoder) -> None:
    """The loss moves what latents emit, and rows keep their places when others leave."""
    condition = reader.condition(condition_input())
    reader(tokens(), condition).square().mean().backward()
    adapter = reader.condition_embedder.adapters["image"]
    assert isinstance(adapter, LatentAdapter) and adapter.emit is not None
    assert adapter.emit.bias.grad is not None and adapter.emit.bias.grad.abs() > 0
    some = condition.rows(torch.tensor([2]))
    assert some.places is not None and condition.places is not None
    torch.testing.assert_close(some.places, condition.places[2:], equal_nan=True)
