"""Fixtures of the dev cluster for every test below."""

pytest_plugins = ["tests.devcluster.fixtures"]
