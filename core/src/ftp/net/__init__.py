"""How encoded rows become tensors, and how a network is run on them. Heavy: imports torch."""
