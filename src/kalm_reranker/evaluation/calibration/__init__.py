"""Fits of calibrations to labelled pairs."""
