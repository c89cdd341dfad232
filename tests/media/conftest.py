"""Fixtures of tests with servers, screens and browsers that show media; films are in `fixtures.py`, for all tests."""
