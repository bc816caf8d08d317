"""Where prompts come from: built-in tasks, local files and the Hub.

    arithmetic.py  one- and two-digit arithmetic in words, for a real chat model (standard library alone)
    split.py       which split a built-in task's prompt belongs to
    read.py        built-in tasks, local files and the Hub, as columns
    load.py        columns into prompts
    check.py       prompts against a model's tokenizer

Nothing is imported here, so that the command line can list tasks without paying for `datasets`.
"""
