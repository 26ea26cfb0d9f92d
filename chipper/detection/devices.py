"""Which device a process computes on, and the processes that torchrun starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from chipper.errors import OptionError, option

_OF_TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def pick_device(name: str) -> torch.device:
    """The torch device for ``name``; 'auto' is this process's GPU, or the CPU where there is none."""
    if name == "auto":
        name = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise OptionError(f"{option('device')} is {name}, but torch sees no GPU; use {option('device')} cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise OptionError(f"{option('device')}: {name!r} is not a device; give cpu, cuda, cuda:1 or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"{option('device')} is {name}, but torch sees {torch.cuda.device_count()} GPUs, counted from 0; give another"
        )
    return device


@contextmanager
def process_group(device: str = "auto") -> Iterator[tuple[int, int]]:
    """Join the processes that torchrun started, for as long as the block lasts; gives (rank, world size).

    Without torchrun it is (0, 1) and nothing happens. Each process takes the GPU of its local rank; on CPUs they talk
    over gloo.
    """
    world = os.environ.get("WORLD_SIZE", "1")
    if not world.isdecimal() or int(world) < 1:
        raise OptionError(f"WORLD_SIZE is {world!r}; it must be the number of processes, as torchrun sets it")
    if int(world) == 1:
        yield 0, 1
        return
    unset = [name for name in _OF_TORCHRUN if name not in os.environ]
    if unset:
        raise OptionError(
            f"WORLD_SIZE is {world} and {unset[0]} is not set; start with torchrun, or leave out WORLD_SIZE"
        )
    on_gpu = torch.cuda.is_available() and device != "cpu"
    if on_gpu:
        local, gpus = os.environ["LOCAL_RANK"], torch.cuda.device_count()
        if not local.isdecimal() or int(local) >= gpus:
            raise OptionError(f"LOCAL_RANK is {local} and torch sees {gpus} GPUs; lower torchrun's --nproc-per-node")
        torch.cuda.set_device(int(local))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield distributed.get_rank(), distributed.get_world_size()
    finally:
        distributed.destroy_process_group()


def mean_over_processes(count: Tensor) -> Tensor:
    """The mean of a number over the processes that train together; each of them must ask for it."""
    mean = count.float()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(mean)
        mean = mean / distributed.get_world_size()
    return mean
