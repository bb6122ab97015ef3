"""Predictions of a network, their scores, and what they are compared with."""
