"""A container: a local process with its own root, namespaces, user and capabilities. Standard library only."""
