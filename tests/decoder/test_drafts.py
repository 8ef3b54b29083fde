"""Drafts: the encoder that reads them and the pointer that copies out of them."""

from dataclasses import replace

import pytest
import torch

from multimodal.decoder import CONDITION_TYPES, ConditionInput, CrossAttentionDecoder
from multimodal.decoder.drafts import CopyPointer, Draft
from tests.decoder.test_decoder import CONFIG, condition_input, run
from tests.decoder.test_decoder import tokens as canvas


@pytest.fixture(scope="module")
def editor() -> CrossAttentionDecoder:
    """A decoder that reads drafts."""
    torch.manual_seed(0)
    return CrossAttentionDecoder(replace(CONFIG, drafts=("caption",), draft_layers=1)).eval()


def drafted(draft: list[list[int]], real: int, dropped: bool = False) -> ConditionInput:
    """A condition with a draft for each row, of which `real` tokens are no padding."""
    tokens = torch.tensor(draft)
    mask = (torch.arange(tokens.shape[1]) < real).expand(tokens.shape)
    drop = torch.full((len(tokens), len(CONDITION_TYPES)), dropped)
    return replace(condition_input(), draft=tokens, draft_mask=mask, dropped=drop)


def test_a_draft_is_read(editor: CrossAttentionDecoder) -> None:
    """Its tokens and their order matter, its padding does not."""
    drafts = [[5, 6, 7, 8]] * 3
    logits = run(editor, drafted(drafts, 4))
    assert (logits - run(editor, drafted([[5, 9, 7, 8]] * 3, 4))).abs().max() > 1e-4
    assert (logits - run(editor, drafted([[8, 7, 6, 5]] * 3, 4))).abs().max() > 1e-4
    assert (logits - run(editor, condition_input())).abs().max() > 1e-4
    torch.testing.assert_close(run(editor, drafted([[5, 6, 0, 0]] * 3, 2)), run(editor, drafted([[5, 6]] * 3, 2)))


def test_a_dropped_draft_is_neither_read_nor_copied(editor: CrossAttentionDecoder) -> None:
    """The null condition replaces the draft too."""
    first = run(editor, drafted([[5, 6, 7]] * 3, 3, dropped=True))
    torch.testing.assert_close(first, run(editor, drafted([[9, 9, 9]] * 3, 3, dropped=True)))


def test_a_decoder_without_drafts_ignores_them() -> None:
    """It has no weights for them."""
    torch.manual_seed(0)
    decoder = CrossAttentionDecoder(CONFIG).eval()
    torch.testing.assert_close(run(decoder, drafted([[5, 6, 7]] * 3, 3)), run(decoder, condition_input()))


def test_some_rows_are_as_among_all(editor: CrossAttentionDecoder) -> None:
    """Rows that leave the batch take their drafts with them; chosen positions are those of all positions."""
    with torch.no_grad():
        condition = editor.condition(drafted([[5, 6, 7], [8, 9, 5], [6, 6, 8]], 3))
        logits = editor(canvas(), condition)
        rows = torch.tensor([2, 0])
        torch.testing.assert_close(editor(canvas()[rows], condition.rows(rows)), logits[rows])
        chosen = torch.rand(canvas().shape) < 0.5
        torch.testing.assert_close(editor(canvas(), condition, chosen), logits[chosen])


def test_an_untrained_decoder_copies_the_same_place(editor: CrossAttentionDecoder) -> None:
    """The pointer starts out at the token of the same place: few of an edited text's tokens move."""
    draft = torch.arange(10, 20)
    logits = run(editor, drafted([draft.tolist()] * 3, 10))
    assert (logits.argmax(-1) == draft).float().mean() > 0.8


@pytest.fixture
def pointer() -> CopyPointer:
    """With weights large enough to matter."""
    torch.manual_seed(0)
    pointer = CopyPointer(CONFIG)
    for parameter in pointer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return pointer.double()


def pointed(pointer: CopyPointer) -> tuple[torch.Tensor, torch.Tensor, Draft, torch.Tensor]:
    """States, vocabulary logits, a draft with a token twice and padding, and the plain formula's probabilities."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 4, CONFIG.hidden_size, generator=generator, dtype=torch.double)
    logits = torch.randn(1, 4, 6, generator=generator, dtype=torch.double).requires_grad_()
    states = torch.randn(1, 5, CONFIG.hidden_size, generator=generator, dtype=torch.double)
    draft = pointer.read(states, torch.tensor([[2, 3, 2, 5, 0]]), torch.tensor([[True, True, True, True, False]]))
    scores = pointer.scores(x, draft)[0]
    joint = torch.cat([logits[0], scores[:, :4]], -1).softmax(-1)
    copied = torch.zeros(4, 6, dtype=torch.double)
    for place, token in enumerate([2, 3, 2, 5]):
        copied[:, token] = copied[:, token] + joint[:, 6 + place]
    return x, logits, draft, joint[:, :6] + copied


def test_vocabulary_and_draft_share_one_softmax(pointer: CopyPointer) -> None:
    """Equations 4 to 8 of CopyNet, spelt out: a token's probability is what the vocabulary and all its places give."""
    x, logits, draft, expected = pointed(pointer)
    torch.testing.assert_close(pointer.logits(x, logits, draft)[0].double().softmax(-1), expected, atol=1e-6, rtol=0)


def test_its_gradient_is_that_of_the_formula(pointer: CopyPointer) -> None:
    """Tokens that stand in the draft twice count once."""
    x, logits, draft, expected = pointed(pointer)
    target = torch.tensor([2, 3, 0, 5])
    weights = [logits, *pointer.parameters()]
    written = pointer.logits(x, logits, draft)[0].double().log_softmax(-1)[range(4), target].sum()
    by_hand = expected.log()[range(4), target].sum()
    for got, want in zip(
        torch.autograd.grad(written, weights, retain_graph=True), torch.autograd.grad(by_hand, weights), strict=True
    ):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-3)
