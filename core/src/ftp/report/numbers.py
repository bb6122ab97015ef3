"""Numbers and times as text, the same in the terminal and on the page."""

from __future__ import annotations


def format_number(value: object) -> str:
    """A number as short as it can be read: four decimals, two from ten on."""
    if not isinstance(value, (int, float)):
        return str(value)
    if abs(value) >= 1e12:
        return f"{value:.3g}"
    if isinstance(value, int) or abs(value) >= 1e6:
        return f"{value:,.0f}"
    if abs(value) < 10:
        return f"{value:.4f}"
    return f"{value:,.2f}"


def format_evidence(value: object) -> str:
    """A number of a check's evidence as short as it can be read, anything else as text."""
    if value is None:
        return "none"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def format_duration(seconds: float) -> str:
    """`8.3 s`, `2:05` (minutes), `1:02:05` (hours)."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"
