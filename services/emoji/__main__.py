"""`python -m services.emoji`; see cli.py."""

import sys

from services.emoji.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
