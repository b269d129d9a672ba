"""Self-BLEU."""
