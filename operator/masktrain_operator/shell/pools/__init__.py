"""Node pools: what is seen of them, what their planner decides, and doing it."""
