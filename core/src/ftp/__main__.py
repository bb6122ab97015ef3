"""`python -m ftp` is the same as `ftp`."""

from ftp.cli.main import main

if __name__ == "__main__":
    main()
