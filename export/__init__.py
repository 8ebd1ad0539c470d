"""Checkpoints to bundles: everything that needs torch, and never runs at inference time."""
