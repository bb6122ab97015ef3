"""`ftp chat`: talk with a finished run in the terminal."""
