"""Exact and near duplicates among texts of several splits."""
