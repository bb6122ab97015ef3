"""Plugins: found, declared, audited, fitted together, called. Imports nothing heavy."""
