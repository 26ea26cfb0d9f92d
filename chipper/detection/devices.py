"""Which device a process computes on, and the processes that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed

from chipper.errors import OptionError


def pick_device(name: str) -> torch.device:
    """The torch device for ``name``; 'auto' is this process's GPU, or the CPU where there is none."""
    if name == "auto":
        name = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise OptionError(f"the device {name} was asked for, but torch sees no GPU: use --device cpu")
    return torch.device(name)


@contextmanager
def process_group(device: str = "auto") -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started, for as long as the block lasts; gives (rank, world size).

    Without torchrun it is (0, 1) and nothing happens. Each process takes the GPU of its local rank; on CPUs they talk
    over gloo.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    on_gpu = torch.cuda.is_available() and device != "cpu"
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield distributed.get_rank(), distributed.get_world_size()
    finally:
        distributed.destroy_process_group()
