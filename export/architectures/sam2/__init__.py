"""SAM 2 and EdgeTAM: checkpoints of transformers to drawers."""
