"""Node pools from end to end in one process: the operator's reconciler, a real API server, and the fake cloud.

Nothing waits: cloud and operator live on one clock that the tests move.
"""
