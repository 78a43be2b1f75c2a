"""What one client alone can ask for, a file per module of `clients`."""
