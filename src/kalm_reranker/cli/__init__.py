"""The `kalm` command."""
