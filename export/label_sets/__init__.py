"""What checkpoints with a fixed set of labels share: labels, image processor, network, bundle, model card."""

from __future__ import annotations

__all__: list[str] = []
