"""Shows answers and results: HTML, SVG, Matplotlib figures, tables on a terminal."""
