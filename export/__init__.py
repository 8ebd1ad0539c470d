"""The exporter: checkpoints to bundles. It needs torch, and never runs at inference time."""
