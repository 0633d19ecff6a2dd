"""Runs the batch client: python -m vibevoice_batch."""

import sys

from vibevoice_batch.cli import main

if __name__ == "__main__":
    sys.exit(main())
