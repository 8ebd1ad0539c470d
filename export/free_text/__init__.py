"""What checkpoints that read free text share: network, tokenizer, image processor, and the comparison of finders."""

from __future__ import annotations

__all__: list[str] = []
