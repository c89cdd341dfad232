"""`make fuzz`: damaged inputs, each of which must end in success or in one sentence. Prints one JSON line."""

import argparse
import json
import sys

from .run import run, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case, to run one again")
    options = parser.parse_args()
    endings = []
    for ending in run(options.mutations, options.seed, options.first):
        endings.append(ending)
        if ending.problem is not None:
            print(f"case {ending.case.seed} ({ending.case.kind}): {ending.problem}\n{ending.output}", file=sys.stderr)
    print(json.dumps(summary(endings)), flush=True)
    sys.exit(any(ending.problem for ending in endings))


main()
