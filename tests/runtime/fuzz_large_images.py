"""The largest files of each format that are allowed; `make fuzz` runs this, because encoding them takes minutes."""

import pytest

from support.hostile_images import LARGE
from support.measured import MeasuredReader


@pytest.mark.parametrize("name", LARGE)
def test_50_megapixels_of_each_format(name: str) -> None:
    file = LARGE[name]()
    with MeasuredReader(timeout=200) as reader:
        cost = reader.read(file)
    assert cost.seconds < 5
    assert cost.megabytes < 500 + 2 * len(file) / 1e6
    refused = name.startswith(("webp", "avif")) or name == "jpeg-cmyk-progressive"
    assert ("over the limit of 500 MB (10 bytes for each pixel of max_pixels)" in cost.error) == refused
