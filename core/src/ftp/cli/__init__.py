"""The command `ftp`: one file a command, each imported only when it is called."""
