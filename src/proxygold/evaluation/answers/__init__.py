"""Answers: of models, or out of files."""
