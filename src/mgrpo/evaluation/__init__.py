"""Measures models on benchmarks."""
