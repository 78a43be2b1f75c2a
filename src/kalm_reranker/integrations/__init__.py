"""Our engine behind other people's interfaces. An edge: nothing inside the package imports it."""
