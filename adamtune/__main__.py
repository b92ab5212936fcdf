"""`python -m adamtune` is the command `adamtune`."""

from adamtune.cli import main

if __name__ == "__main__":
    main()
