"""The operator's door to Oracle, against the fake cloud through the real SDK."""
