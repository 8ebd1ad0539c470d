"""SAM and SAM-HQ: checkpoints of transformers to drawers."""
