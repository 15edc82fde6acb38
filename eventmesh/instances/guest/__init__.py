"""What runs in an instance."""
