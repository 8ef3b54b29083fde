"""A decoder that reads noisy vectors in place of tokens."""

import json
from dataclasses import replace

import pytest
import torch

from multimodal.decoder import ContinuousConfig, CrossAttentionDecoder, DecoderConfig, NoisyText
from tests.decoder.test_decoder import CONFIG, condition_input, tokens

GAUSSIAN = replace(CONFIG, continuous=ContinuousConfig("gaussian", embedding_size=6))
REGRESSION = replace(CONFIG, continuous=ContinuousConfig("gaussian", embedding_size=6, objective="mse"))
SIMPLEX = replace(CONFIG, continuous=ContinuousConfig("simplex"))


def build(config: DecoderConfig) -> CrossAttentionDecoder:
    torch.manual_seed(0)
    return CrossAttentionDecoder(config).eval()


def test_decoders_of_tokens_are_as_they_were() -> None:
    """No weight more, the same first weights and the same numbers; and configurations of before are still read."""
    plain, noisy = build(CONFIG), build(SIMPLEX)
    assert {name.split(".")[0] for name in noisy.state_dict().keys() - plain.state_dict().keys()} == {"reader"}
    assert plain.state_dict().keys() <= noisy.state_dict().keys()
    stored = CONFIG.to_dict()
    del stored["continuous"]
    assert DecoderConfig.from_dict(stored) == CONFIG


@pytest.mark.parametrize("config", [GAUSSIAN, REGRESSION, SIMPLEX])
def test_configurations_survive_json(config: DecoderConfig) -> None:
    """As the checkpoint stores them."""
    assert DecoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("config", "size", "out"), [(GAUSSIAN, 6, 40), (REGRESSION, 6, 6), (SIMPLEX, 40, 40)], ids=["ce", "mse", "simplex"]
)
def test_all_that_is_given_matters(config: DecoderConfig, size: int, out: int) -> None:
    """Vectors, estimate, noise level of each position and condition; chosen positions are those of the whole."""
    decoder = build(config)
    vectors, noise = torch.rand(3, 10, size).softmax(-1), torch.full((3, 10), 0.5)
    with torch.no_grad():
        condition = decoder.condition(condition_input())
        whole = decoder(NoisyText(vectors, None, noise), condition)
        assert whole.shape == (3, 10, out)
        chosen = torch.rand(3, 10) < 0.4
        torch.testing.assert_close(decoder(NoisyText(vectors, None, noise), condition, chosen), whole[chosen])
        one_clean = noise.clone()
        one_clean[1, 4] = 0
        others = [
            decoder(NoisyText(vectors.flip(1), None, noise), condition),
            decoder(NoisyText(vectors, vectors.flip(1), noise), condition),
            decoder(NoisyText(vectors, None, one_clean), condition),
            decoder(NoisyText(vectors, None, noise), decoder.condition(condition_input(seed=1))),
        ]
    assert all((other - whole).abs().max() > 1e-5 for other in others)
    assert torch.equal(others[2][0], whole[0])


def test_a_one_hot_vector_is_its_token() -> None:
    """Simplex: certainty about tokens reads as these tokens, but for the noise level."""
    decoder = build(SIMPLEX)
    with torch.no_grad():
        condition = decoder.condition(condition_input())
        assert decoder.reader is not None
        for parameter in decoder.reader.noise.parameters():
            parameter.zero_()
        one_hot = torch.eye(40)[tokens()]
        read = decoder(NoisyText(one_hot, None, torch.zeros(3, 10)), condition)
        torch.testing.assert_close(read, decoder(tokens(), condition))
