"""Learn from the answers of a larger model beside those of the rows (knowledge distillation)."""

from ftp_distill.plugin import Distill

__all__ = ["Distill"]
