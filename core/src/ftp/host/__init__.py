"""What the machine does to a command: its terminal, signals, faults of the disk, loud libraries.

Imports nothing heavy.
"""
