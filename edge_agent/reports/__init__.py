"""Findings -> one-page HTML reports that need nothing but themselves. Needs the extra `report`."""
