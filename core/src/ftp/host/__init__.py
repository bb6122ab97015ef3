"""What the machine does to a command: its terminal, signals, faults of the disk, libraries that talk. Imports nothing heavy."""
