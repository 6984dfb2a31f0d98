"""`python -m virnucpro`."""

from virnucpro.cli.main import main

if __name__ == "__main__":
    main()
