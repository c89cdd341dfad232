"""Command line of the benchmark."""

import argparse
import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from . import __doc__ as description
from .comparison import Comparison
from .month import Outcome, simulate, together
from .policies import POLICIES, Policy
from .report import LEGEND, json_lines, table
from .shapes import SHAPES, Shape
from .traces import TRACES

Case = tuple[str, Shape, Policy, int]


def main() -> None:
    options = _options()
    comparisons = {}
    print(LEGEND)
    for (trace, shape), comparison in _compare_all(range(1, options.seeds + 1), options.processes):
        comparisons[trace, shape] = comparison
        print(*table(trace, shape, comparison, options.seeds), sep="\n", flush=True)
    for (trace, shape), comparison in comparisons.items():
        print(*json_lines(trace, shape, comparison, options.seeds), sep="\n")
    if options.plot:
        from .plot import draw  # noqa: PLC0415 - only who wants a picture waits for matplotlib

        draw(comparisons, options.plot)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="months with other draws, put together")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--plot", type=Path, help="where to draw the curves")
    return parser.parse_args()


def _compare_all(seeds: Sequence[int], processes: int) -> Iterator[tuple[tuple[str, Shape], Comparison]]:
    places = list(itertools.product(TRACES, SHAPES))
    months = _simulate_all(
        [(*place, policy, seed) for place in places for policy in POLICIES for seed in seeds], processes
    )
    for place in places:
        yield place, Comparison({policy.name: together(itertools.islice(months, len(seeds))) for policy in POLICIES})


def _simulate_all(cases: list[Case], processes: int) -> Iterator[Outcome]:
    """In the order of the cases."""
    if processes == 1:
        yield from itertools.starmap(simulate, cases)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(simulate, *zip(*cases, strict=True))


if __name__ == "__main__":
    main()
