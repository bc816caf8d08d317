"""Which split a built-in task's prompt belongs to."""

import zlib
from typing import Literal

Split = Literal["train", "test"]

# crc32 % 10 and not % 8: the low bits of a CRC are sums of input bits, a split along the structure of the prompts.
TEST_ONE_IN = 10


def split_of(prompt: str) -> Split:
    """Name the one split that a prompt belongs to, by its checksum, so that the splits cannot overlap."""
    return "test" if zlib.crc32(prompt.encode()) % TEST_ONE_IN == 0 else "train"
