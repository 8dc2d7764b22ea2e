"""Have we got this already? Pure."""
