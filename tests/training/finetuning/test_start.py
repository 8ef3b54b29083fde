"""A saved decoder to go on from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from multimodal.decoder import ConditionInput, CrossAttentionDecoder, DecoderConfig
from multimodal.errors import CheckpointError, ConfigError
from multimodal.generation import TextGenerator
from multimodal.sample import Modality, Sample, Split, Task
from multimodal.tokenizer import TextTokenizer
from multimodal.training.assembly import build_tokenizer
from multimodal.training.finetuning.start import grown_decoder, initial_weights, load_start
from multimodal.training.options import TokenizerOptions, TrainOptions
from tests.decoder.test_decoder import CONFIG, condition_input, run, tokens

OLD = replace(CONFIG, drafts=("denoise",), draft_layers=1)
NEW = DecoderConfig(
    vocab_size=40, max_tokens=30, latent_sizes={"audio": 6, "image": 12}, tasks=("transcribe", "caption"),
    styles=("terse", "formal"), hidden_size=64, num_heads=4, resample={"audio": 3}, dropout=0.3,
)  # fmt: skip
OPTIONS = TrainOptions(init_from="old")


@pytest.fixture(scope="module")
def start() -> TextGenerator:
    torch.manual_seed(0)
    tokenizer = TextTokenizer.train(["a small red circle"], 300)
    return TextGenerator(CrossAttentionDecoder(OLD).eval(), tokenizer, {"caption": 10, "denoise": 12, "infill": 10})


def test_the_decoder_grows_by_what_is_new(start: TextGenerator) -> None:
    """Old tasks, styles and modalities first, then the new ones; the shape is the old one's, the dropout the job's."""
    config = grown_decoder(NEW, start, OPTIONS).config
    assert config.tasks == ("caption", "denoise", "infill", "transcribe")
    assert config.styles == ("formal", "informal", "terse")
    assert config.latent_sizes == {"audio": 6, "image": 12, "text": 8} and config.resample == {"audio": 3}
    assert (config.hidden_size, config.max_tokens, config.dropout, config.draft_layers) == (32, 30, 0.3, 1)


def test_old_tasks_are_written_as_before(start: TextGenerator) -> None:
    """Before any step, with a style as without one, with latents as without: the very logits of the old decoder."""
    torch.manual_seed(7)
    decoder = grown_decoder(NEW, start, OPTIONS).eval()
    base = condition_input()
    variants = [
        base,
        replace(base, style=torch.tensor([0, 1, -1])),
        ConditionInput(base.task, base.style, "image"),
        replace(base, draft=tokens()[:, :5], draft_mask=torch.ones(3, 5, dtype=torch.bool)),
    ]
    for variant in variants:
        torch.testing.assert_close(run(decoder, variant), run(start.decoder, variant), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("new", "options", "problem"),
    [
        (replace(NEW, latent_sizes={"image": 9}), {}, "reads image as latents of width 12, the new data has 9"),
        (replace(NEW, grid_positions={"image": 4}), {}, "reads image as a grid of none, the new data has 4"),
        (replace(NEW, process="speculative"), {}, r"writes by diffusion; set train\.process"),
        (replace(NEW, causal=True), {}, r"writes by diffusion; set train\.process"),
        (NEW, {"freeze": ("condition",)}, r"transcribe, terse are new .* take 'condition' out"),
        (NEW, {"freeze": ("adapters",)}, r"audio are new .* take 'adapters' out"),
    ],
)
def test_what_does_not_fit_is_refused(
    start: TextGenerator, new: DecoderConfig, options: dict[str, Any], problem: str
) -> None:
    """Latents of another form, the other direction, new parts that shall not be learnt."""
    with pytest.raises(ConfigError, match=problem):
        grown_decoder(new, start, OPTIONS.model_copy(update=options))


def test_the_old_tokenizer_is_kept(start: TextGenerator) -> None:
    """Unless it shall not be, and then another one is refused and the same one welcome."""

    def build(text: str, **options: bool) -> TextTokenizer:
        sample = Sample("s", "c", Modality.IMAGE, Task.CAPTION, Split.TRAIN, "g", "toy", "toy#0", text)
        train = OPTIONS.model_copy(update=options)
        return build_tokenizer(TokenizerOptions(vocab_size=300), train, {Task.CAPTION: [sample]}, start)

    assert build("other words entirely") is start.tokenizer
    with pytest.raises(ConfigError, match=r"differs from that of old.*train\.keep_tokenizer"):
        build("other words entirely", keep_tokenizer=False)
    assert build("a small red circle", keep_tokenizer=False).to_json() == start.tokenizer.to_json()


def test_every_kind_of_folder_is_read(start: TextGenerator, tmp_path: Path) -> None:
    """A saved model's, a checkpoint's, and a training's, which means its chosen checkpoint."""
    start.save_pretrained(tmp_path / "run" / "step-000010")
    index = {"parts": {}, "result": {"checkpoint": "step-000010"}}
    (tmp_path / "run" / "index.json").write_text(json.dumps(index))
    for source in ("run/step-000010", "run"):
        assert load_start(str(tmp_path / source)).canvas == start.canvas
    with pytest.raises(CheckpointError, match="lacks decoder"):
        load_start(str(tmp_path))
    with pytest.raises(ConfigError, match="must be fetched first"):
        load_start("models:/sample@champion")


def test_a_training_depends_on_the_weights_not_on_their_place(start: TextGenerator, tmp_path: Path) -> None:
    """The same files elsewhere are the same; one changed byte is another training."""
    start.save_pretrained(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")

    def depends(name: str) -> dict[str, Any]:
        return initial_weights(TrainOptions(init_from=str(tmp_path / name)))

    assert depends("one") == depends("two") and depends("one")["init_backbone"] is None
    (tmp_path / "two" / "config.json").write_text("{}")
    assert depends("one") != depends("two")
