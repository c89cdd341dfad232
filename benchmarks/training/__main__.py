"""Run the benchmarks of training: `python -m benchmarks.training --help` lists them."""

import os
import sys

from masktrain_trainer.pod.launch import ALLOCATOR_VARIABLE, KEEP_FREED_MEMORY

from .command import main

# What is measured in this process shall have a rank's memory, and the C library reads the variable at the start only.
if ALLOCATOR_VARIABLE not in os.environ:
    environment = {**os.environ, ALLOCATOR_VARIABLE: KEEP_FREED_MEMORY}
    os.execve(sys.executable, [sys.executable, "-m", __package__, *sys.argv[1:]], environment)  # noqa: S606
main()
