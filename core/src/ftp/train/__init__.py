"""Training: the loop, one update, the optimizer, checkpoints, devices and processes."""
