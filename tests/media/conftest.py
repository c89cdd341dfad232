"""Fixtures for tests with real media, servers and browsers."""

from tests.media.browser import browser

__all__ = ["browser"]
