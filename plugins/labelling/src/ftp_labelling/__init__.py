"""Exports of tools for annotation, as rows with ftp's columns: Label Studio, Argilla, Prodigy, doccano and spaCy."""
