"""The twin built from transformers."""

from dataclasses import replace

import pytest
import torch

from multimodal.bench.gpt2 import GPT2Decoder, GPT2Generator
from multimodal.decoder import CrossAttentionDecoder
from multimodal.errors import RequestError
from multimodal.generation import Request
from multimodal.generation.autoregressive import Written, filled, prompt, sequences
from multimodal.generation.guidance import guide
from multimodal.sample import Task
from multimodal.training.batches import TaskBatches
from multimodal.training.checkpoint import step_folder
from multimodal.training.loop import Trainer
from multimodal.training.objective import NextTokenObjective
from multimodal.training.options import SamplerOptions, TrainOptions


@pytest.fixture
def toy(make_toy):
    """The toy corpus with a small GPT-2."""
    toy = make_toy("autoregressive")
    torch.manual_seed(1)
    toy.decoder = GPT2Decoder(replace(toy.decoder.config, dropout=0.0, styles=("formal",), drafts=("restyle",)))
    return toy


def generator_of(toy):
    return GPT2Generator(toy.decoder.eval(), toy.tokenizer, toy.canvas)


def requests_of(toy, count=6):
    latents = [toy.latents.get(sample.content_id) for sample in toy.samples[::40]]
    captions = [Request(f"c{i}", Task.CAPTION, states) for i, states in enumerate(latents[:count])]
    return [*captions, Request("g", Task.INFILL, text="first red ___ white and last ___ blue")]


def test_it_is_as_large_as_the_native_twin(toy):
    """At the size of conf/sample.yaml, parameters differ by less than a tenth."""
    config = replace(toy.decoder.config, hidden_size=192, num_layers=4, num_heads=6, vocab_size=768, max_tokens=98)
    native, library = (kind(config).num_parameters for kind in (CrossAttentionDecoder, GPT2Decoder))
    assert library == pytest.approx(native, rel=0.1)


def test_it_reads_latents_style_and_draft(toy):
    """Each part of the condition changes what is predicted; dropped rows see none of it."""
    batch = toy.batches[Task.CAPTION].batch(0, 4)
    texts = sequences(batch.canvases, toy.tokenizer.mask_token_id, toy.tokenizer.pad_token_id)
    draft = torch.full((4, 3), 7)
    plain = replace(
        batch.condition, dropped=torch.zeros(4, 3, dtype=torch.bool), draft=draft, draft_mask=torch.ones(4, 3).bool()
    )
    decoder = toy.decoder.eval()

    @torch.no_grad()
    def logits(**changes):
        return decoder(texts.inputs, decoder.condition(replace(plain, **changes)))

    changes = {
        "hidden_states": plain.hidden_states.flip(-1), "style": torch.zeros(4, dtype=torch.long), "draft": draft + 1
    }  # fmt: skip
    for name, value in changes.items():
        assert not torch.allclose(logits(), logits(**{name: value})), name
    gone = {"dropped": torch.ones(4, 3, dtype=torch.bool)}
    assert torch.allclose(logits(**gone), logits(**gone, **changes), atol=1e-5)


def test_generate_gives_the_argmax_of_the_trained_logits(toy):
    """What `generate` writes with its cache is what the loss's forward, run again from the start, finds likeliest;
    a text with two gaps goes on to its second end."""
    generator = generator_of(toy)
    tokenizer = toy.tokenizer
    for request in requests_of(toy):
        canvas = generator._start(request)
        guided = guide(toy.decoder, generator._condition(request.task, [request]), SamplerOptions())
        start = prompt(canvas, tokenizer.mask_token_id, tokenizer.pad_token_id)
        text, ends = list(start), max(1, len(canvas.gaps))
        most = generator.writer._most([canvas], len(start))
        with torch.no_grad():
            while len(text) < len(start) + most and text[len(start) :].count(tokenizer.pad_token_id) < ends:
                logits = toy.decoder(torch.tensor([text]), guided.condition)[0, -1]
                logits[tokenizer.mask_token_id] = -torch.inf
                text.append(int(logits.argmax()))
            output = generator.writer.write([canvas], guided, SamplerOptions(), None, False)
        written = Written(text[len(start) :], [1.0] * (len(text) - len(start)), 0)
        assert output.tokens[0].tolist() == filled(canvas, written, tokenizer.pad_token_id)[0]
        assert int(output.nfe[0]) == len(written.tokens)


def test_a_text_does_not_depend_on_its_batch(toy):
    """Alone or among others, greedy or by beams: the same texts."""
    generator = generator_of(toy)
    captions = requests_of(toy)[:-1]
    for options in (SamplerOptions(), SamplerOptions(beams=3)):
        together = [one.text for one in generator.generate(captions, options)]
        assert together == [generator.generate([request], options)[0].text for request in captions]


def test_what_it_cannot_do_is_refused(toy):
    """Guidance, temperature and beams over several gaps."""
    *_, gaps = requests_of(toy)
    for options in (SamplerOptions(guidance_scale=2), SamplerOptions(temperature=1), SamplerOptions(beams=2)):
        with pytest.raises(RequestError):
            generator_of(toy).generate([gaps], options)


def test_the_trainer_trains_it_and_resumes(toy, tmp_path):
    """It learns eight captions that only their latents tell apart, its checkpoint loads, and a second trainer finds
    nothing left to do."""
    toy.decoder = GPT2Decoder(replace(toy.decoder.config, drafts=()))
    chosen = toy.samples[::64]
    batches = TaskBatches(Task.CAPTION, chosen, toy.tokenizer, toy.latents, toy.decoder.config, 16, 0.0, 3)
    options = TrainOptions(
        tasks={Task.CAPTION: 1}, steps=60, batch_size=8, eval_every=60, checkpoint_every=30, learning_rate=4e-3,
        warmup_steps=5,
    )  # fmt: skip
    requests = [Request(sample.sample_id, sample.task, toy.latents.get(sample.content_id)) for sample in chosen]

    def score(generator):
        written = generator.generate(requests, SamplerOptions())
        return {"val/score": sum(one.text == sample.text for one, sample in zip(written, chosen, strict=True)) / 8}

    def trainer():
        return Trainer(
            toy.decoder, toy.tokenizer, toy.canvas, {Task.CAPTION: batches}, options, 3, tmp_path, score,
            lambda *_: None, lambda *_: None, GPT2Generator,
        )  # fmt: skip

    assert isinstance(trainer().objective, NextTokenObjective)
    done = trainer().train()
    assert done.best_score == 1
    assert trainer().train() == done
    generator = GPT2Generator.load(step_folder(tmp_path, done.best_step))
    assert isinstance(generator.decoder, GPT2Decoder) and score(generator) == {"val/score": 1}
