"""`masktrain doctor`, judging: from what was seen to findings. Pure."""
