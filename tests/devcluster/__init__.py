"""Tests of the dev cluster itself, and the fixtures that offer it to all others."""
