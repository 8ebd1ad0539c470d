"""Inputs of CLIPSeg: token ids and pixels, compared with those of transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data
from tokenizers import Tokenizer
from transformers import CLIPTokenizer, CLIPTokenizerFast, ViTImageProcessor

from automask.export import clip_tokenizer
from automask.export.image_processor import image_settings
from support.clip_vocabulary import MERGES, write_vocabulary
from support.clipseg_checkpoints import clip_merges

Array = NDArray[Any]

ODD_PROMPTS = [
    "", " ", "   ", "\t\n", "a", "A", "cat", "CAT", "  the   cat  ", "the\tcat\non", "the cat.",
    "the cat's", "don't", "it's 'quoted'", "3 cups", "12345", "½ cup", "x²", "naïve café",
    "cafe\u0301", "ÀÉÎ", "STRASSE straße", "İstanbul", "ΑΣ ΟΔΟΣ", "Глаз", "кошка слева", "猫", "猫の左",
    "左边的杯子", "컵", "قط", "חתול", "बिल्ली", "แมว", "🐈", "👩‍👩‍👧‍👦", "🏳️‍🌈 flag", "❤️", "☕️ on 🪑",
    "a🐈b", "<|startoftext|>", "<|endoftext|>", "cat <|endoftext|> dog", "<|endoftext", "<b>cup</b>",
    "&amp; cup", "cup & saucer", "a/b", "a\\b", "C:\\cup", "https://example.org/?q=cup",
    "me@example.org", "#cup", "@cup", "cup!!!", "...", "?!", "—", "“cup”", "(the cup)", "[cup]",
    "{cup}", "cup_left", "left-most", "cup;left", "1,000.50", "$5", "€5", "50%", "a+b=c", "~",
    "`cup`", "^", "|", "\u200bcup", "cup\u00a0left", "\u3000cup", "\ufeffcup", "cup\u2028left",
    "\x07cup", "cup\x00left", "\ufffd", "ﬁne", "ｃｕｐ", "Ⅻ", "①", "the " * 75, "the " * 74 + "cat",
    "the " * 76, "the " * 500, "x" * 1000, "猫" * 200, "🐈" * 100, "word, " * 60,
    "'s 't 're 've 'm 'll 'd", "THE CUP'S LEFT", "supercalifragilisticexpialidocious",
    "e\u0301\u0302\u0303", "\U0001d400\U0001d401", "a" + "\u0300" * 50, "the cushion on the left",
]  # fmt: skip


@pytest.fixture(scope="module", params=["small", "CLIP's own"])
def tokenizers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """transformers' tokenizers for a vocabulary, and the exported one."""
    folder = tmp_path_factory.mktemp("tokenizer")
    merges = MERGES if request.param == "small" else clip_merges()
    if merges is None:
        pytest.skip("CLIP's vocabulary lies in open_clip_torch: pip install --no-deps open_clip_torch")
    write_vocabulary(folder, merges)
    fast = CLIPTokenizerFast.from_pretrained(folder, model_max_length=77)
    clip_tokenizer.write_tokenizer(fast, 77, folder / "exported.json")
    slow = CLIPTokenizer.from_pretrained(folder, model_max_length=77)
    return SimpleNamespace(fast=fast, slow=slow, exported=Tokenizer.from_file(str(folder / "exported.json")))


@pytest.mark.parametrize("prompt", [pytest.param(p, id=ascii(p[:20])) for p in ODD_PROMPTS])
def test_odd_prompts_have_the_same_ids_as_in_transformers(tokenizers: SimpleNamespace, prompt: str) -> None:
    expected = tokenizers.fast(prompt, truncation=True)["input_ids"]
    found = tokenizers.exported.encode(prompt)
    assert found.ids == expected
    assert (found.ids[0], found.ids[-1]) == (tokenizers.fast.bos_token_id, tokenizers.fast.eos_token_id)
    assert len(found.ids) <= 77
    # How the runtime detects truncation.
    assert bool(found.overflowing) == (len(tokenizers.fast(prompt)["input_ids"]) > 77)


def test_a_batch_of_odd_prompts_is_padded_as_in_transformers(tokenizers: SimpleNamespace) -> None:
    expected = tokenizers.fast(ODD_PROMPTS, truncation=True, padding=True)
    found = tokenizers.exported.encode_batch(ODD_PROMPTS)
    assert [f.ids for f in found] == expected["input_ids"]
    assert [f.attention_mask for f in found] == expected["attention_mask"]


def test_the_slow_tokenizer_differs_only_where_it_cleans_text(tokenizers: SimpleNamespace) -> None:
    """Without ftfy it separates Chinese characters and drops control characters; OpenAI's own did neither."""
    slow, exported = tokenizers.slow, tokenizers.exported
    different = [one for one in ODD_PROMPTS if slow(one, truncation=True)["input_ids"] != exported.encode(one).ids]
    assert 0 < len(different) < len(ODD_PROMPTS)
    assert [one for one in different if one.isascii() and one.isprintable() and "<|" not in one] == []


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_pillows_filter_is_the_closest_to_transformers(name: str) -> None:
    """Compare ways to resize with the processor, in units of 0..255."""
    photo = getattr(data, name)()
    expected = ViTImageProcessor(size=352, do_normalize=False, do_rescale=False)(photo)["pixel_values"][0]
    ways = {
        "Pillow bilinear": np.asarray(Image.fromarray(photo).resize((352, 352), Image.Resampling.BILINEAR)),
        "OpenCV linear": cv2.resize(photo, (352, 352), interpolation=cv2.INTER_LINEAR),
        "OpenCV area": cv2.resize(photo, (352, 352), interpolation=cv2.INTER_AREA),
    }
    differences = {way: np.abs(found.transpose(2, 0, 1).astype(float) - expected) for way, found in ways.items()}
    for way, difference in differences.items():
        print(f"{name}: {way}: largest {difference.max():.0f}, mean {difference.mean():.2f}")
    assert differences["Pillow bilinear"].max() == 0
    assert min(differences["OpenCV linear"].max(), differences["OpenCV area"].max()) > 10


def test_mean_and_std_include_the_settings_of_the_processor() -> None:
    photo = data.coffee()
    processor = ViTImageProcessor(size=64, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4], resample=3)
    settings = image_settings(processor, "stretch")
    resized = np.asarray(Image.fromarray(photo).resize((64, 64), Image.Resampling.BICUBIC), np.float32)
    found = ((resized - settings["mean"]) / settings["std"]).transpose(2, 0, 1)
    assert settings["interpolation"] == "pillow_bicubic"
    np.testing.assert_allclose(found, processor(photo)["pixel_values"][0], atol=1e-5)
