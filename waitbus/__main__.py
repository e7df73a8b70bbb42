"""`python -m waitbus` is the console script."""

from waitbus.cli import main

if __name__ == "__main__":
    main()
