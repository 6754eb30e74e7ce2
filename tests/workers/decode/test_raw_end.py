"""A camera RAW file that ends too early never shows what was in memory before."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from shared.errors import DecodeFailed, TruncatedImage
from tests.workers.decode.dng import dng
from workers.decode import raw

pytest.importorskip("rawpy")


@pytest.mark.parametrize("percent", [60, 70, 80, 90, 99])
def test_a_preview_that_is_not_all_here_is_refused(percent: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (45, 60, 3), np.uint8)
    whole = dng(Image.fromarray(noise))
    preview, _ = raw.preview(whole)  # leaves its bytes in the memory that LibRaw takes next
    assert preview.endswith(b"\xff\xd9")
    with pytest.raises((TruncatedImage, DecodeFailed)):
        raw.preview(whole[: len(whole) * percent // 100])
