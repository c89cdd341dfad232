"""Run the benchmarks of training: `python -m benchmarks.training {throughput,learning,levers,profile} --help`."""

from .command import main

main()
