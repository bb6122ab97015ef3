"""Learn from preferences and ratings: DPO and its variants, ORPO, SimPO, KTO."""

from ftp_preference.dpo import Dpo
from ftp_preference.kto import Kto
from ftp_preference.orpo import Orpo
from ftp_preference.simpo import Simpo

__all__ = ["Dpo", "Kto", "Orpo", "Simpo"]
