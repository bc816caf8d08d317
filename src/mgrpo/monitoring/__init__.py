"""How a run is watched and judged: the collapse alarm, the live view, curves, the verdict on its stability."""
