"""MT-Bench and Vicuna-Bench, in FastChat's form."""
