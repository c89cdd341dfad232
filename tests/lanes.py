"""How `make test` shares the tests out to several processes, so that suites that wait run beside suites that compute.

A lane is what one process runs from its beginning to its end, test after test. Tests that share something costly, such
as a cluster, are one lane; of all others each file is one, so that what its tests share is made once. Processes take
over lanes in the order of collection: the long ones first, so that nothing long begins when all else is done.
"""

SHARED = {
    "tests/e2e/test_node_pools.py": "cluster with node pools",
    "tests/e2e/": "cluster",
    "tests/devcluster/": "cluster",
    "tests/api/pools/": "API server for node pools",
    "tests/security/test_node_money.py": "API server for node pools",
    "tests/api/": "API server",
    "tests/security/test_foreign_objects.py": "API server",
    "tests/security/test_memory.py": "API server",
    "tests/security/test_untrusted_progress.py": "API server",
}
"""Beginning of a path to lane; the first that fits."""
CLUSTERS = ("cluster", "control_plane")
"""Fixtures that end with the lane that asked for them."""
LONGEST_FIRST = (
    "tests/e2e/test_node_pools.py",
    "tests/e2e/",
    "tests/devcluster/",
    "tests/api/pools/",
    "tests/stores/test_kill.py",
    "tests/ddp/",
    "tests/security/",
    "tests/api/",
    "tests/local/",
    "tests/stores/",
)


def lane(nodeid: str) -> str:
    """The lane of a test."""
    path = nodeid.partition("::")[0]
    return next((name for beginning, name in SHARED.items() if path.startswith(beginning)), path)


def turn(nodeid: str) -> int:
    """Sorts tests by when their suite's turn comes; those of one suite stay as they were collected."""
    for number, beginning in enumerate(LONGEST_FIRST):
        if nodeid.startswith(beginning):
            return number
    return len(LONGEST_FIRST)
