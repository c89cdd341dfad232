"""Entry point of `python -m tests.devcluster`."""

from tests.devcluster.cli import main

if __name__ == "__main__":
    main()
