"""Starts the live client: python -m vibevoice_live."""

import sys

from vibevoice_live.cli import main

if __name__ == "__main__":
    sys.exit(main())
