"""What being preferred costs in tasks."""
