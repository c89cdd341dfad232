"""Some of `make fuzz`: damaged data sets, pictures and weights end in success or in one sentence."""

import json
import subprocess
import sys

MUTATIONS = 150
SEED = 20261127
"""Another one than that of `make fuzz`, which begins at 0."""


def test_no_damaged_input_ends_in_a_traceback() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--mutations", str(MUTATIONS), "--seed", str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]
    line = json.loads(done.stdout)
    assert (line["mutations"], line["violations"]) == (MUTATIONS, 0)
    # Neither so damaged that all is refused, nor so little that nothing is.
    assert min(line["accepted"], line["refused"]) > MUTATIONS / 10
