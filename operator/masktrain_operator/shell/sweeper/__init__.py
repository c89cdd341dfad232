"""The dead man's switch: takes idle nodes down while no operator gives a sign of life."""
