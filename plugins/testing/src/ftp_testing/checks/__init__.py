"""The checks, one file a kind of plugin. Each is a small function; its docstring says what is asked."""
