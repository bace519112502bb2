"""FSDP on a machine without a GPU, once this is imported.

accelerate shards on accelerators alone: processes that talk by gloo it takes for DDP, whatever
`--use_fsdp` says. torch itself shards on processors too, so they are passed off as GPUs here, whose
tensors lie on the processor.
"""

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

plain_init = PartialState.__init__


def init(self, *args, **kwargs):
    plain_init(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU
        self.device = torch.device("cpu")  # by whose number FSDP 1 is confused


PartialState.__init__ = init
