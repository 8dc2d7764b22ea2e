"""Files -> frames -> tiles. `frames` is the door; the other files are its rooms."""

import os

# PROJ prints straight to stderr what it finds wrong with a damaged reference system. It reads
# this when it is loaded, so it must be set before rasterio and pyproj are imported.
os.environ.setdefault("PROJ_DEBUG", "0")
