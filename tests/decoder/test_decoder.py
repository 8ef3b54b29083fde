"""The decoder."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from multimodal.decoder import (
    CONDITION_TYPES,
    LATENTS,
    STYLE,
    Condition,
    ConditionInput,
    CrossAttentionDecoder,
    DecoderConfig,
    style_index,
    task_index,
)
from multimodal.decoder.layers import build_norm, plain_attention

CONFIG = DecoderConfig(
    vocab_size=40, max_tokens=24, latent_sizes={"image": 12, "text": 8}, tasks=("caption", "denoise", "infill"),
    styles=("formal", "informal"), hidden_size=32, num_layers=2, num_heads=4, dropout=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def decoder() -> CrossAttentionDecoder:
    torch.manual_seed(0)
    return CrossAttentionDecoder(CONFIG).eval()


def condition_input(batch: int = 3, latents: int = 5, padding: int = 0, seed: int = 0) -> ConditionInput:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(batch, latents, 12, generator=generator)
    mask = torch.ones(batch, latents + padding, dtype=torch.bool)
    mask[:, latents:] = False
    junk = 1e3 * torch.ones(batch, padding, 12)
    return ConditionInput(
        task=task_index(CONFIG, ["caption"] * batch),
        style=style_index(CONFIG, [""] * batch),
        modality="image",
        hidden_states=torch.cat([states, junk], 1),
        attention_mask=mask,
    )


def tokens(batch: int = 3, length: int = 10) -> torch.Tensor:
    return torch.randint(2, 40, (batch, length), generator=torch.Generator().manual_seed(1))


def run(decoder: CrossAttentionDecoder, condition: ConditionInput, batch: int = 3) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = decoder(tokens(batch), decoder.condition(condition))
    return logits


def test_shapes(decoder: CrossAttentionDecoder) -> None:
    """Logits for every position and token."""
    assert run(decoder, condition_input()).shape == (3, 10, 40)


def test_logits_of_chosen_positions(decoder: CrossAttentionDecoder) -> None:
    """The same as choosing among all logits, in row-major order."""
    positions = torch.rand(3, 10, generator=torch.Generator().manual_seed(2)) < 0.4
    condition = decoder.condition(condition_input())
    with torch.no_grad():
        chosen = decoder(tokens(), condition, positions)
    torch.testing.assert_close(chosen, run(decoder, condition_input())[positions])


@pytest.mark.parametrize("biased", [True, False])
def test_plain_attention_is_attention(biased: bool) -> None:
    """Equal to PyTorch's kernel, forwards and backwards."""
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, 3, n, 8, generator=generator, requires_grad=True) for n in (5, 7, 7)]
    bias = torch.zeros(2, 1, 1, 7)
    bias[1, ..., 4:] = -torch.inf
    outputs = [
        attention(*inputs, bias if biased else None)
        for attention in (plain_attention, torch.nn.functional.scaled_dot_product_attention)
    ]
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad(output.square().sum(), inputs) for output in outputs]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_padded_conditioning_changes_nothing(decoder: CrossAttentionDecoder) -> None:
    """Latents beyond the mask are not read, whatever they hold."""
    torch.testing.assert_close(run(decoder, condition_input()), run(decoder, condition_input(padding=4)))


def test_a_batch_of_one_equals_a_row_of_a_batch(decoder: CrossAttentionDecoder) -> None:
    """Rows do not see each other."""
    whole = run(decoder, condition_input())
    condition = decoder.condition(condition_input())
    with torch.no_grad():
        alone = decoder(tokens()[1:2], condition.rows(torch.tensor([1])))
    torch.testing.assert_close(alone, whole[1:2], atol=1e-5, rtol=1e-4)


def test_evaluation_is_deterministic_in_spite_of_dropout(decoder: CrossAttentionDecoder) -> None:
    """Two calls in eval mode agree; in train mode dropout acts."""
    assert torch.equal(run(decoder, condition_input()), run(decoder, condition_input()))
    decoder.train()
    try:
        assert not torch.equal(run(decoder, condition_input()), run(decoder, condition_input()))
    finally:
        decoder.eval()


def test_every_position_sees_every_other(decoder: CrossAttentionDecoder) -> None:
    """Attention is bidirectional: the last token's change reaches the first position's logits."""
    changed = tokens()
    changed[:, -1] = (changed[:, -1] + 1) % 38 + 2
    condition = decoder.condition(condition_input())
    with torch.no_grad():
        before, after = decoder(tokens(), condition), decoder(changed, condition)
    assert ((before - after)[:, 0].abs().amax(-1) > 1e-4).all()


def test_positions_of_an_all_mask_canvas_differ(decoder: CrossAttentionDecoder) -> None:
    """Otherwise no text could ever be begun."""
    with torch.no_grad():
        logits = decoder(torch.ones(3, 10, dtype=torch.long), decoder.condition(condition_input()))
    assert logits.std(dim=1).mean() > 1e-3


def test_task_style_and_latents_matter(decoder: CrossAttentionDecoder) -> None:
    """Each part of the condition changes the logits."""
    base = condition_input()
    values = {name: getattr(base, name) for name in ConditionInput.__slots__}
    variants = [
        ConditionInput(**{**values, "task": task_index(CONFIG, ["denoise"] * 3)}),
        ConditionInput(**{**values, "style": style_index(CONFIG, ["formal"] * 3)}),
        condition_input(seed=5),
    ]
    reference = run(decoder, base)
    for variant in variants:
        assert (run(decoder, variant) - reference).abs().max() > 1e-4


def test_a_dropped_condition_is_the_null_condition(decoder: CrossAttentionDecoder) -> None:
    """Dropped rows do not depend on their latents or style, and equal a condition without latents."""
    base = replace(condition_input(), dropped=torch.ones(3, len(CONDITION_TYPES), dtype=torch.bool))
    first = run(decoder, base)
    other = replace(base, hidden_states=torch.randn(3, 5, 12), style=style_index(CONFIG, ["formal"] * 3))
    torch.testing.assert_close(first, run(decoder, other))
    bare = ConditionInput(task=base.task, style=base.style, modality="image")
    torch.testing.assert_close(first, run(decoder, bare), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dropped", [LATENTS, STYLE])
def test_each_type_is_dropped_on_its_own(decoder: CrossAttentionDecoder, dropped: int) -> None:
    """What is dropped no longer matters, what is not still does; each modality has a null condition of its own."""
    columns = torch.zeros(3, len(CONDITION_TYPES), dtype=torch.bool)
    columns[:, dropped] = True
    base = replace(condition_input(), style=style_index(CONFIG, ["formal"] * 3), dropped=columns)
    variants = {
        LATENTS: replace(base, hidden_states=condition_input(seed=5).hidden_states),
        STYLE: replace(base, style=style_index(CONFIG, ["informal"] * 3)),
    }
    gaps = {name: (run(decoder, variant) - run(decoder, base)).abs().max() for name, variant in variants.items()}
    assert gaps.pop(dropped) == 0 and all(gap > 1e-4 for gap in gaps.values())
    with_text, with_image = (ConditionInput(base.task, base.style, modality) for modality in ("text", "image"))
    assert (run(decoder, with_text) - run(decoder, with_image)).abs().max() > 1e-5


def test_a_checkpoint_with_one_null_condition_loads(decoder: CrossAttentionDecoder) -> None:
    """Weights from when all types shared a null condition: each gets it."""
    state = decoder.state_dict()
    names = [name for name in state if ".null." in name]
    shared = torch.randn(32)
    old = {name: tensor for name, tensor in state.items() if name not in names}
    loaded = CrossAttentionDecoder(CONFIG)
    loaded.load_state_dict({**old, "condition_embedder.null": shared})
    assert len(names) == 3 and all(torch.equal(loaded.state_dict()[name], shared) for name in names)


@pytest.mark.parametrize(
    "change", [{"norm": "rms"}, {"activation": "gelu", "feed_forward_size": 48}, {"qk_norm": False},
               {"embedding_norm": True}, {"rotary_bases": (100.0, 1e4)}]
)  # fmt: skip
def test_options_of_the_blocks_matter(decoder: CrossAttentionDecoder, change: dict[str, Any]) -> None:
    """Each changes the logits of the same seed, keeps rows apart, and survives JSON."""
    config = replace(CONFIG, **change)
    torch.manual_seed(0)
    other = CrossAttentionDecoder(config).eval()
    whole = run(other, condition_input())
    assert (whole - run(decoder, condition_input())).abs().max() > 1e-4
    condition = other.condition(condition_input())
    with torch.no_grad():
        alone = other(tokens()[1:2], condition.rows(torch.tensor([1])))
    torch.testing.assert_close(alone, whole[1:2], atol=1e-5, rtol=1e-4)
    assert DecoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_rms_norm_is_rms_norm() -> None:
    """x / sqrt(mean x^2 + eps) times the weight."""
    norm = build_norm(replace(CONFIG, norm="rms"))
    x = torch.randn(4, 32)
    torch.testing.assert_close(norm(x), x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt())


def test_condition_is_computed_once(decoder: CrossAttentionDecoder) -> None:
    """Keys and values per layer come from `condition`; the forward pass projects queries only."""
    condition = decoder.condition(condition_input())
    assert isinstance(condition, Condition) and len(condition.keys) == CONFIG.num_layers
    calls: list[int] = []
    hooks = [
        block.cross_attention.key_value.register_forward_hook(lambda *_: calls.append(1)) for block in decoder.blocks
    ]
    with torch.no_grad():
        decoder(tokens(), condition)
    for hook in hooks:
        hook.remove()
    assert not calls


def test_config_survives_json() -> None:
    """What a checkpoint stores gives back the same config."""
    assert DecoderConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    old = {name: value for name, value in CONFIG.to_dict().items() if not name.startswith("process")}
    assert DecoderConfig.from_dict(old) == CONFIG  # stored before there were processes to choose from


def test_heads_must_divide_the_width() -> None:
    """The message names both numbers."""
    with pytest.raises(ValueError, match="multiple"):
        DecoderConfig(vocab_size=10, max_tokens=4, latent_sizes={}, tasks=("infill",), hidden_size=30, num_heads=4)
