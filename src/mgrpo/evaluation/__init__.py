"""How good a model is: benchmarks, samples, and the statistics of what was sampled."""
