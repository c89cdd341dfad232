"""The operator's only door to Oracle Cloud.

The SDK takes a second to import, so `client`, `access` and `errors` do without it: whoever has no node pool never loads
it, and whoever has one loads it in a thread.
"""
