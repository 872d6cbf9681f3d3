"""Several processes of one test, and those that a program started."""

import multiprocessing
import subprocess
import time
import uuid

import torch


def in_processes(number, work, folder):
    """What `work()` gives in each of so many processes that are joined as torchrun's would be; None for one that is killed."""
    context = multiprocessing.get_context("fork")  # a fresh interpreter would take seconds to import torch
    meeting, results = folder / f"meeting-{uuid.uuid4()}", context.SimpleQueue()
    started = [context.Process(target=_joined, args=(rank, number, meeting, work, results)) for rank in range(number)]
    for process in started:
        process.start()
    found = {}
    while any(process.is_alive() for process in started) or not results.empty():
        if results.empty():
            time.sleep(0.01)
        else:
            rank, found[rank] = results.get()
    return [found.get(rank) for rank in range(number)]


def started_by(ancestor):
    """The processes that one started, that those started, and so on: their ids and command lines."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,command="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in lines}

    def descends(pid):
        while (pid := parents.get(pid, 0)) and pid != ancestor:
            pass
        return pid == ancestor

    return {int(pid): " ".join(command) for pid, _, *command in lines if descends(int(pid))}


def _joined(rank, number, meeting, work, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=number)
    try:
        results.put((rank, work()))
    finally:
        torch.distributed.destroy_process_group()
