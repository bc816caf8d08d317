"""Where prompts come from: built-in tasks, local files and the Hub.

    arithmetic.py  one- and two-digit arithmetic in words, for a real chat model (standard library alone)
    load.py        every source behind one function, and the check of the prompts against a tokenizer

Nothing is imported here, so that the command line can list tasks without paying for `datasets`.
"""
