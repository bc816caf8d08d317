"""Real transformers models of fifty thousand to a million parameters and their tasks, for studies, demo, tests and CI.

    problem.py   what the tasks share: problems solved step by step, gold answers, noisy demonstrations
    chains.py    chained arithmetic
    swaps.py     four letters that change places
    task.py      the tasks by name, as a recipe's `task` gives them
    starts.py    the models by name: size and warm-up of each
    model.py     the Qwen3 configuration, the character tokenizer and the shipped checkpoint's directory
    evaluate.py  greedy and sampled accuracy through transformers' own generate
    build.py     the supervised warm-up that makes a model: `python -m mgrpo.embedded build`
    cache.py     the directory of models that are built on demand

Nothing is imported here, so that the command line can list problems without importing torch.
"""
