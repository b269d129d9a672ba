"""What answers are like, and what gold pays for them."""
