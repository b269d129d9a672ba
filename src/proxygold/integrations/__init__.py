"""The reward inside other tools: over HTTP, and in the trainers that call it one completion at a time."""
