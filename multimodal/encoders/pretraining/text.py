"""The text tower, from scratch or from weights, by denoising.

Noisy bytes go in, and the states must give back the clean text twice.
A linear layer reads from each byte's state the clean bytes that belong there (none, one or two, aligned by edit
distance), so that a state holds its letters. A small decoder reads the whole clean text from an all-mask canvas by
cross-attention, as the pipeline's decoder will, so that the states also say which words these letters were meant to
make. Both heads are thrown away; the decoder is used once more, to score.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jiwer import cer
from rapidfuzz.distance import Levenshtein
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from multimodal.decoder import ConditionInput, CrossAttentionDecoder, DecoderConfig
from multimodal.encoders.options import EncoderOptions
from multimodal.encoders.pretraining.lora import add_adapters, merged
from multimodal.encoders.pretraining.options import PretrainOptions
from multimodal.encoders.text import TextEncoder, average_neighbours, build_text_encoder, byte_ids, pad_ids
from multimodal.errors import EncoderError
from multimodal.optimizer import warmup_cosine
from multimodal.sample import Sample, Task
from multimodal.synthetic.noise import NOISE_RATES, add_noise
from multimodal.tokenizer import TextTokenizer

Pair = tuple[str, str]
"""(noisy, clean)."""
PairSource = Callable[[random.Random], Pair]
Progress = Callable[[int, int], None]
Log = Callable[[int, Mapping[str, float]], None]

SLOTS = 2
"""Clean bytes that one noisy byte may stand for."""
BLANK = 256
"""Class of a slot that stands for nothing."""
_SORTED_BATCHES = 8
_VOCABULARY_TEXTS = 4000
_CANVAS = 40
_RESTORED_AT_ONCE = 64
_LOG_EVERY = 100
_MAX_CHARS = 256
_NATURAL_SHARE = 0.5
_CLEAN_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class DenoisingScore:
    """Character error rates against the clean text, over a corpus.

    Args:
        before: of the noisy text as it is.
        after: of the text that the throwaway decoder reads from the states, in a single step.
        exact: share of texts that come back wholly clean.
        count: texts.
    """

    before: float
    after: float
    exact: float
    count: int


def dataset_pairs(samples: Sequence[Sample]) -> PairSource:
    """Draws from a dataset's own texts: its noisy -> clean pairs as they are, and all its clean texts with fresh noise.

    Args:
        samples: of any tasks; those longer than 256 characters are passed over.

    Raises:
        EncoderError: no sample has a text to learn from.
    """
    found = [sample for sample in samples if max(len(sample.text), len(sample.input)) <= _MAX_CHARS]
    natural = [(sample.input, sample.text) for sample in found if sample.task is Task.DENOISE]
    clean = [sample.text for sample in found] + [sample.input for sample in found if sample.task is Task.RESTYLE]
    clean = sorted({text for text in clean if any(character.isascii() and character.isalpha() for character in text)})
    if not clean:
        raise EncoderError(
            f"text encoder: none of {len(samples)} train samples has a text of letters and at most {_MAX_CHARS} "
            "characters to pretrain on; set `weights` of the text encoder, or add sources"
        )

    def draw(rng: random.Random) -> Pair:
        if natural and rng.random() < _NATURAL_SHARE:
            return rng.choice(natural)
        text = rng.choice(clean)
        return (text if rng.random() < _CLEAN_SHARE else add_noise(text, rng, rng.uniform(*NOISE_RATES))), text

    return draw


class EditHead(nn.Module):
    """Reads each byte's clean bytes from its state."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(hidden_size, SLOTS * (BLANK + 1))

    def forward(self, states: Tensor) -> Tensor:
        """[b, n, d] -> logits [b, n, slots, bytes + blank]."""
        logits: Tensor = self.read(states)
        return logits.view(*states.shape[:2], SLOTS, BLANK + 1)


@dataclass(frozen=True, slots=True)
class TextPretraining:
    """What came out: the encoder, and the throwaway decoder that `restore` reads its states with."""

    encoder: TextEncoder
    decoder: CrossAttentionDecoder
    tokenizer: TextTokenizer
    steps: int
    minutes: float


class _Trainee(nn.Module):
    """The tower with its two throwaway heads."""

    def __init__(self, tower: nn.Module, hidden_size: int, downsample: int, tokenizer: TextTokenizer) -> None:
        super().__init__()
        self.tower, self.downsample = tower, downsample
        self.edit_head = EditHead(hidden_size)
        self.decoder = CrossAttentionDecoder(
            DecoderConfig(tokenizer.vocab_size, _CANVAS, {"text": hidden_size}, ("denoise",), num_layers=2)
        )

    def forward(self, ids: Tensor, mask: Tensor, edits: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """Losses of a batch: ids, mask [b, n]; edits [b, n, slots], -100 where nothing is known; tokens [b, canvas]."""
        states = self.tower(input_ids=ids, attention_mask=mask).last_hidden_state
        edit_logits = self.edit_head(states).float()
        states, mask = average_neighbours(states, mask, self.downsample)
        logits = _read_in_one_step(self.decoder, states, mask, tokens.shape[1]).float()
        return {
            "edit_loss": functional.cross_entropy(edit_logits.flatten(0, 2), edits.flatten()),
            "word_loss": functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()),
        }


def _read_in_one_step(decoder: CrossAttentionDecoder, states: Tensor, mask: Tensor, length: int) -> Tensor:
    """Logits [b, length, vocab] of an all-mask canvas, given states [b, n, d] and their mask [b, n]."""
    task = torch.zeros(len(states), dtype=torch.long, device=states.device)
    condition = decoder.condition(ConditionInput(task, torch.full_like(task, -1), "text", states, mask))
    canvas = task.new_full((len(states), length), TextTokenizer.mask_token_id)
    logits: Tensor = decoder(canvas, condition)
    return logits


def pretrain_text(
    options: EncoderOptions, source: PairSource, progress: Progress | None = None, log: Log | None = None
) -> TextPretraining:
    """Train a text encoder on pairs drawn from `source` until steps or minutes run out, from scratch or from weights.

    Args:
        options: architecture, downsampling and `pretrain`; its `weights` are not read.
        source: draws one (noisy, clean) pair; called with one `Random` made from the seed.
        progress: called with (steps done, steps).
        log: called every 100 steps with the losses' means.

    Raises:
        EncoderError: the weights to start from, or the architecture, cannot be had; or the adapters' targets fit
            nothing.
    """
    training, started = options.pretrain, time.monotonic()
    rng = random.Random(training.seed)
    tokenizer = TextTokenizer.train((source(rng)[1] for _ in range(_VOCABULARY_TEXTS)), vocab_size=1024)
    encoder = build_text_encoder(options.model_copy(update={"weights": training.start}))
    torch.manual_seed(training.seed)
    tower = encoder.model.requires_grad_(True).train()
    adapted = add_adapters(tower, training.lora) if training.lora else None
    trainee = _Trainee(tower, encoder.hidden_size, options.downsample, tokenizer).to(encoder.device)
    steps = _train(trainee, _batches(source, rng, tokenizer, training.batch_size), training, progress, log)
    if adapted is not None:
        tower = merged(adapted)
    if training.start is None:
        for parameter in tower.parameters():
            parameter.data = parameter.data.half().float()  # so that saving in float16 loses nothing
    minutes = (time.monotonic() - started) / 60
    encoder = TextEncoder(tower, options.downsample, encoder.device)
    return TextPretraining(encoder, trainee.decoder.eval().cpu(), tokenizer, steps, minutes)


def _train(
    trainee: _Trainee,
    batches: Iterator[tuple[Tensor, ...]],
    options: PretrainOptions,
    progress: Progress | None,
    log: Log | None,
) -> int:
    device = next(trainee.parameters()).device
    weights = [parameter for parameter in trainee.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(weights, options.learning_rate, weight_decay=options.weight_decay, fused=True)
    started, done, sums = time.monotonic(), 0.0, dict.fromkeys(("edit_loss", "word_loss"), 0.0)
    for step in range(1, options.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * warmup_cosine(step - 1, options.warmup_steps, done, floor=0)
        # At these lengths the fused attention kernel of a CPU spends half of a step in its backward.
        with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            losses = trainee(*(tensor.to(device) for tensor in next(batches)))
        torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        sums = {name: sums[name] + float(loss.detach()) for name, loss in losses.items()}
        elapsed = (time.monotonic() - started) / 60
        done = max(step / options.steps, elapsed / (options.max_minutes or math.inf))
        if log and (step % _LOG_EVERY == 0 or done >= 1):
            since = step % _LOG_EVERY or _LOG_EVERY  # steps since the last log
            log(step, {**{name: total / since for name, total in sums.items()}, "minutes": elapsed})
            sums = dict.fromkeys(sums, 0.0)
        if progress:
            progress(step, options.steps)
        if done >= 1:
            return step
    return options.steps


def _batches(
    source: PairSource, rng: random.Random, tokenizer: TextTokenizer, batch_size: int
) -> Iterator[tuple[Tensor, ...]]:
    """Endless batches of texts of like length, so that little is padding."""
    while True:
        pairs = sorted((source(rng) for _ in range(batch_size * _SORTED_BATCHES)), key=lambda pair: len(pair[0]))
        batches = [pairs[start : start + batch_size] for start in range(0, len(pairs), batch_size)]
        rng.shuffle(batches)
        for batch in batches:
            yield _collate(batch, tokenizer)


def _collate(pairs: Sequence[Pair], tokenizer: TextTokenizer) -> tuple[Tensor, ...]:
    ids, mask = pad_ids([byte_ids(noisy.encode()) for noisy, _ in pairs], torch.device("cpu"))
    edits = torch.full((*ids.shape, SLOTS), -100)
    for row, (noisy, clean) in enumerate(pairs):
        targets = edit_targets(noisy.encode(), clean.encode())
        edits[row, : len(targets)] = torch.tensor(targets)
    texts = [tokens[:_CANVAS] for tokens in tokenizer.encode_batch([clean for _, clean in pairs])]
    length = min(_CANVAS, max(len(tokens) for tokens in texts) + 1)
    canvas = [tokens[:length] + [tokenizer.pad_token_id] * (length - len(tokens)) for tokens in texts]
    return ids, mask, edits, torch.tensor(canvas)


def edit_targets(noisy: bytes, clean: bytes) -> list[list[int]]:
    """For each noisy byte the clean bytes that it stands for, as `SLOTS` classes.

    The alignment is one of least edit distance. Missing bytes hang on the byte before them, at the start on the first
    one; what does not fit into a byte's slots is left out.
    """
    pieces = [b""] * len(noisy)
    lead = b""
    for step in Levenshtein.opcodes(noisy, clean):
        piece = clean[step.dest_start : step.dest_end]
        if step.tag == "insert" and step.src_start:
            pieces[step.src_start - 1] += piece
        elif step.tag == "insert":
            lead = piece
        elif step.tag != "delete":
            for offset, byte in enumerate(piece):
                pieces[step.src_start + offset] += bytes([byte])
    pieces[0] = lead + pieces[0]
    return [[*piece[:SLOTS], *[BLANK] * (SLOTS - len(piece))] for piece in pieces]


@torch.inference_mode()
def restore(trained: TextPretraining, texts: Sequence[str]) -> list[str]:
    """The clean texts that the throwaway decoder reads from the states of noisy ones, all tokens at once."""
    restored = []
    for start in range(0, len(texts), _RESTORED_AT_ONCE):
        batch = [trained.encoder.preprocess(text.encode()) for text in texts[start : start + _RESTORED_AT_ONCE]]
        output = trained.encoder.encode(batch)
        logits = _read_in_one_step(trained.decoder, output.hidden_states, output.attention_mask, _CANVAS)
        restored += [_until_padding(trained.tokenizer, ids) for ids in logits.argmax(-1).tolist()]
    return restored


def _until_padding(tokenizer: TextTokenizer, ids: list[int]) -> str:
    end = ids.index(tokenizer.pad_token_id) if tokenizer.pad_token_id in ids else len(ids)
    return tokenizer.decode(ids[:end])


def score_denoising(trained: TextPretraining, source: PairSource, count: int, seed: int) -> DenoisingScore:
    """Score `restore` on `count` pairs that `source` draws with its own seed."""
    rng = random.Random(seed)
    noisy, clean = (list(texts) for texts in zip(*(source(rng) for _ in range(count)), strict=True))
    restored = restore(trained, noisy)
    exact = sum(text == wanted for text, wanted in zip(restored, clean, strict=True)) / count
    return DenoisingScore(float(cer(clean, noisy)), float(cer(clean, restored)), exact, count)
