"""Shows answers and results: HTML, SVG, figures of Matplotlib, tables on a terminal."""
