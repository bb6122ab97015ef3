"""The folder of a run: its files and their log, who may write in it, and what several runs hold.

Imports nothing heavy.
"""
