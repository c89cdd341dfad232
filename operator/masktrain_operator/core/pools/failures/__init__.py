"""What goes wrong with pools, and what the planner makes of it."""
