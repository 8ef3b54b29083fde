"""The dial between the input and its edit."""

import pytest
from rapidfuzz.distance import Levenshtein

from multimodal.decoder import CrossAttentionDecoder, DecoderConfig
from multimodal.errors import RequestError
from multimodal.evaluation.items import build_items
from multimodal.evaluation.style import fit_style_classifier, style_accuracy
from multimodal.generation import Constraints, Generation, Request, TextGenerator
from multimodal.generation.strength import soften
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.options import SamplerOptions
from tests.training.conftest import WORDS, ToyLatents, teach

GIVEN = "could you please look at the café over there"
MADE = "look at this café there now"
CONFIDENCES = {"look": 0.9, "at": 0.9, "this": 0.4, "café": 0.9, "there": 0.5, "now": 0.7}


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train([GIVEN, MADE], 290)


@pytest.fixture
def edit(tokenizer: TextTokenizer) -> Generation:
    """Three changes of one to three words, with accents and words left out."""
    tokens = [tokenizer.pieces(tokenizer.encode(word)) for word in MADE.split()]
    sure = [CONFIDENCES[word] for word, pieces in zip(MADE.split(), tokens, strict=True) for _ in pieces]
    return Generation("r", MADE, tuple(piece for pieces in tokens for piece in pieces), tuple(sure), 2, 0.6)


def test_its_ends_are_the_input_and_the_edit(edit: Generation, tokenizer: TextTokenizer) -> None:
    """To the letter, though letters are split between tokens."""
    assert soften(GIVEN, edit, 0.0, tokenizer).text == GIVEN
    assert soften(GIVEN, edit, 1.0, tokenizer).text == MADE


def test_every_turn_of_it_moves_away_from_the_input(edit: Generation, tokenizer: TextTokenizer) -> None:
    """The word edit distance never falls, stops at the share that was asked for, and keeps earlier changes."""
    texts = [soften(GIVEN, edit, step / 20, tokenizer).text.split() for step in range(21)]
    distances = [Levenshtein.distance(GIVEN.split(), text) for text in texts]
    assert distances == sorted(distances)
    assert len(set(distances)) == 4
    back = [Levenshtein.distance(text, MADE.split()) for text in texts]
    assert all(one + two == distances[-1] for one, two in zip(distances, back, strict=True))


def test_the_surest_changes_come_first(edit: Generation, tokenizer: TextTokenizer) -> None:
    """Leaving out "could you please", beside a sure "look", comes before an unsure "this"."""
    assert soften(GIVEN, edit, 0.5, tokenizer).text == "look at the café over there"


def test_kept_words_are_given_ones(edit: Generation, tokenizer: TextTokenizer) -> None:
    """Tokens and confidences go with the text; what was the input's is certain."""
    half = soften(GIVEN, edit, 0.5, tokenizer)
    assert len(half.tokens) == len(half.confidences)
    words = {half.text.split()[row]: half.confidences[start] for row, (start, _) in enumerate(half.words)}
    assert words == {"look": 0.9, "at": 0.9, "the": 1.0, "café": 0.9, "over": 1.0, "there": 1.0}


def rewritten(first: str, second: str, style: str) -> Sample:
    """Two colours, in a stiff text to be made casual or the other way round."""
    forms = {"stiff": f"one sees {first} beside {second} here", "casual": f"theres {first} and {second} yeah"}
    source = forms["casual" if style == "stiff" else "stiff"]
    name = f"{first}-{second}"
    return Sample(
        f"{name}-{style}",
        name,
        Modality.TEXT,
        Task.RESTYLE,
        Split.TRAIN,
        name,
        "toy",
        name,
        forms[style],
        source,
        style,
    )


def test_a_trained_model_goes_as_far_as_is_asked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """On a toy: at 0 the inputs, then ever farther from them and oftener in the style, at 1 the whole edit."""
    pairs = [(one, two) for one in WORDS for two in WORDS if one != two]
    samples = [rewritten(*pair, style) for pair in pairs for style in ("stiff", "casual")]
    styles = ("casual", "stiff")
    model = teach(
        samples, tmp_path_factory.mktemp("run"), 20, 80, 340, styles=styles, drafts=("restyle",), draft_layers=1
    )
    asked = samples[::8]
    classifier = fit_style_classifier(build_items(samples))
    distances, accuracies, texts = [], [], []
    for strength in (0.0, 0.25, 0.5, 0.75, 1.0):
        requests = [Request(s.sample_id, s.task, ToyLatents().get(s.content_id), s.input, s.style) for s in asked]
        texts = [made.text for made in model.generate(requests, SamplerOptions(strength=strength))]
        moved = (Levenshtein.distance(s.input.split(), text.split()) for s, text in zip(asked, texts, strict=True))
        distances.append(sum(moved))
        items = [build_items([sample])[0] for sample in asked]
        accuracies.append(style_accuracy(items, texts, classifier).value)
    assert distances[0] == 0 and distances == sorted(distances) and len(set(distances)) >= 4
    assert accuracies == sorted(accuracies) and accuracies[0] < 0.1 and accuracies[-1] > 0.9
    whole = [made.text for made in model.generate(requests, SamplerOptions())]
    assert texts == whole


def test_constraints_and_a_strength_contradict_each_other(tokenizer: TextTokenizer) -> None:
    """Kept words of the input might be forbidden ones."""
    config = DecoderConfig(
        tokenizer.vocab_size,
        9,
        {"text": len(WORDS)},
        ("restyle",),
        ("casual",),
        hidden_size=8,
        num_layers=1,
        num_heads=2,
    )
    model = TextGenerator(CrossAttentionDecoder(config), tokenizer, {"restyle": 9})
    request = Request("r", Task.RESTYLE, ToyLatents().get("red"), "a", "casual", Constraints(prefix="a"))
    with pytest.raises(RequestError, match="strength below 1"):
        model.generate([request], SamplerOptions(strength=0.5))
