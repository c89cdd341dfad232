"""A tree of Linux processes in namespaces of its own: what holds it together, and what runs inside."""
