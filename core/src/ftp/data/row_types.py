"""Names for types of the library `datasets` that this folder shares; imported by type checkers alone, as it is heavy."""

from collections.abc import Mapping
from typing import TypeAlias

from datasets import Dataset, IterableDataset
from datasets.features.features import FeatureType as ColumnType
from typing_extensions import TypeVar

__all__ = ["ColumnType", "ColumnTypes", "Rows", "RowsT"]

Rows: TypeAlias = Dataset | IterableDataset
"""The rows of a split: stored, or a stream."""

RowsT = TypeVar("RowsT", Dataset, IterableDataset)
"""Rows that stay what they are, stored or a stream."""

ColumnTypes: TypeAlias = Mapping[str, ColumnType]
"""The type of each column, by its name."""
