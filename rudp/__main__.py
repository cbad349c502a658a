"""`python -m rudp` is the `rudp` command."""

from rudp.cli import main

if __name__ == "__main__":
    main()
