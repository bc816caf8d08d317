"""Sampling completions from both models, one implementation per engine."""
