"""`python -m mgrpo` on several CPU processes, which accelerate would train by DDP whatever it is asked for.

It has FSDP for accelerators alone, though FSDP2 itself takes gloo and CPU tensors.
"""

import os
import sys

from accelerate import PartialState
from accelerate.utils import DistributedType

from mgrpo.cli import main

if os.environ.get("ACCELERATE_USE_FSDP") == "true":
    init = PartialState.__init__

    def init_as_accelerator(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = init_as_accelerator

if __name__ == "__main__":
    sys.exit(main())
