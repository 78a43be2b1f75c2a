"""Shapes on the wire: what requests may hold, and what answers look like. No HTTP, no model."""
