"""`python -m tael` is the command `tael`."""

from tael.cli.main import main

if __name__ == "__main__":
    main()
