"""Which split a generated prompt belongs to."""

import zlib
from typing import Literal, cast

from mgrpo.errors import UserError

Split = Literal["train", "test"]

# crc32 % 10 and not % 8: the low bits of a CRC are sums of input bits, a split along the structure of the prompts.
TEST_ONE_IN = 10


def split_of(prompt: str) -> Split:
    """Name the one split that a prompt belongs to, by its checksum, so that the splits cannot overlap."""
    return "test" if zlib.crc32(prompt.encode()) % TEST_ONE_IN == 0 else "train"


def check_split(split: str, task: str) -> Split:
    """Refuse a split that a generating task does not have.

    Raises:
        UserError: if there is no such split.
    """
    if split not in ("train", "test"):
        raise UserError(f"split={split!r}: {task} has the splits 'train' and 'test'; choose one")
    return cast(Split, split)
