"""What is a tile worth, and does it go home? Pure."""
