"""The clients, a file per library; `environments.py` says which install together."""
