"""Saving checkpoints, and putting the training loop back where one left it."""
