"""ToxiGen."""
