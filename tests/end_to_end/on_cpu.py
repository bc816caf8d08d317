"""`python -m mgrpo` for tests on several CPU processes.

Two things are other than outside of tests. FSDP: accelerate has it for accelerators alone, and would train by DDP
here, though FSDP2 itself takes gloo and CPU tensors. And with SAMPLE_BY_PROMPT=1 each row of a batch draws random
numbers of its own, which follow from its prompt: a process otherwise draws for its rows together, from its own random
state, so that a prompt's completions would depend on how many processes there are.
"""

import os
import sys
import zlib
from collections import Counter
from unittest import mock

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from transformers import GenerationMixin

from mgrpo.cli import main


def take_cpus_for_accelerators():
    init = PartialState.__init__

    def init_as_accelerator(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = init_as_accelerator


def sample_by_prompt():
    generate = GenerationMixin.generate

    def generate_by_prompt(self, input_ids, attention_mask, **settings):
        seen, generators = Counter(), []
        for ids, mask in zip(input_ids, attention_mask, strict=True):
            prompt = tuple(ids[mask.bool()].tolist())
            seed = zlib.crc32(repr((prompt, seen[prompt])).encode())
            generators.append(torch.Generator().manual_seed(seed))
            seen[prompt] += 1

        def draw(probabilities, num_samples):
            assert num_samples == 1
            drawn = torch.stack([torch.rand(1, generator=generator) for generator in generators])
            return (probabilities.cumsum(dim=-1) < drawn).sum(dim=-1, keepdim=True)

        with mock.patch.object(torch, "multinomial", draw):
            return generate(self, input_ids=input_ids, attention_mask=attention_mask, **settings)

    GenerationMixin.generate = generate_by_prompt


if __name__ == "__main__":
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        take_cpus_for_accelerators()
    if os.environ.get("SAMPLE_BY_PROMPT") == "1":
        sample_by_prompt()
    sys.exit(main())
