"""Train small low-rank adapters and leave the base weights as they are (LoRA)."""
