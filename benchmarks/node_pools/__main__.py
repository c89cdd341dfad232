"""Command line of the benchmark."""

import argparse
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import __doc__ as description
from .comparison import Comparison
from .month import Outcome, simulate, together
from .policies import POLICIES, Policy
from .report import json_lines, table
from .shapes import SHAPES, Shape
from .traces import TRACES

Case = tuple[str, Shape, Policy, int]


def main() -> None:
    options = _options()
    seeds = range(1, options.seeds + 1)
    cases = list(itertools.product(TRACES, SHAPES, POLICIES, seeds))
    outcomes = dict(zip(cases, _simulate_all(cases, options.processes), strict=True))
    comparisons = {}
    for trace, shape in itertools.product(TRACES, SHAPES):
        months = {p.name: together(outcomes[trace, shape, p, seed] for seed in seeds) for p in POLICIES}
        comparisons[trace, shape.name] = comparison = Comparison(months)
        print(*table(trace, shape, comparison, options.seeds), sep="\n", flush=True)
    for trace, shape in itertools.product(TRACES, SHAPES):
        print(*json_lines(trace, shape, comparisons[trace, shape.name], options.seeds), sep="\n")
    if options.plot:
        from .plot import draw  # noqa: PLC0415 - only who wants a picture waits for matplotlib

        draw(comparisons, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="months with other draws, put together")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--plot", type=Path, help="where to draw the curves")
    return parser.parse_args()


def _simulate_all(cases: list[Case], processes: int) -> Iterator[Outcome]:
    if processes == 1:
        return itertools.starmap(simulate, cases)
    with ProcessPoolExecutor(processes) as pool:
        return iter(list(pool.map(simulate, *zip(*cases, strict=True), chunksize=2)))


if __name__ == "__main__":
    main()
