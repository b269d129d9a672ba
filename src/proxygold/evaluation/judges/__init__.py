"""LLM judges."""
