"""Files -> frames -> tiles. `frames` is the door; the other files are its rooms."""
