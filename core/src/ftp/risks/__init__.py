"""The risks of a run: what its checks say, and what follows from it."""
