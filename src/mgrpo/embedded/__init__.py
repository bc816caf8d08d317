"""A real transformers model of 103 thousand parameters and its task, for the demo, the tests and CI.

    task.py      chained arithmetic: prompts, gold answers, noisy demonstrations (standard library alone)
    model.py     the Qwen3 configuration, the character tokenizer and where the shipped checkpoint lies
    evaluate.py  greedy and sampled accuracy through transformers' own generate
    build.py     the supervised warm-up that made the checkpoint: `python -m mgrpo.embedded build`

Nothing is imported here, so that the command line can list chains without paying for torch.
"""
