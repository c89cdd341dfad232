"""GPU node pools on a virtual clock: Oracle's side, a scheduler, and the operator's own planner step by step.

It stands in for nothing that talks to an API: the planner is a pure function, and this is a world to plan for. Tests
look for a world in which the planner goes wrong; benchmarks measure what a month of its decisions costs.
"""
