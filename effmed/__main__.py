"""``python -m effmed``."""

from effmed.cli.app import main

if __name__ == "__main__":
    main()
